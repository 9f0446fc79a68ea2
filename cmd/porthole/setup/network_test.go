package setup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withConf is a release with a CNI configuration to place.
func (w *world) withConf(t *testing.T, name, text string) Options {
	t.Helper()
	o := w.release(t, "1.0.0")
	o.CNIConf = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(o.CNIConf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestInstall_CNIConf(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after string // what somebody has there before the installation, and before the removal
		keepData      bool
		left          bool
	}{
		{name: "placed"},
		{name: "kept", keepData: true, left: true},
		{name: "changed", after: `{"mine":1}`, left: true},
		{name: "there_before", before: `{"theirs":1}`, left: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			path := filepath.Join(w.dir, "etc", "cni", "10-net.conflist")
			want := `{"a":1}`
			if tc.before != "" {
				want = tc.before
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(want), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // again changes nothing
				if _, err := w.setup().Install(t.Context(), w.withConf(t, "10-net.conflist", `{"a":1}`)); err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(path); err != nil || string(b) != want {
					t.Errorf("the configuration is %q, %v, want %q", b, err, want)
				}
			}
			protected := []string{"ProgramData/porthole", "etc", "ProgramData/porthole"}
			if tc.before != "" { // the folder is theirs
				protected = []string{"ProgramData/porthole", "ProgramData/porthole"}
			}
			if diff := cmp.Diff(protected, w.protected); diff != "" {
				t.Errorf("protected folders (-want +got):\n%s", diff)
			}
			if tc.after != "" {
				if err := os.WriteFile(path, []byte(tc.after), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.setup().Uninstall(t.Context(), "", tc.keepData); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); (err == nil) != tc.left {
				t.Errorf("after the removal the configuration is left: %v, want %v", err == nil, tc.left)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "etc")); (err == nil) != tc.left {
				t.Errorf("after the removal its folder is left: %v, want %v", err == nil, tc.left)
			}
		})
	}
}

// TestInstall_CNIConfEveryStep: whatever fails, no configuration is left that nobody knows of.
func TestInstall_CNIConfEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		o := w.withConf(t, "10-net.conf", `{}`)
		before := w.String()
		w.failAt = n
		_, err := w.setup().Install(t.Context(), o)
		if err == nil {
			if !strings.Contains(strings.Join(w.steps, " "), "conf dir") || n < 6 {
				t.Errorf("only %d steps can fail: %v", n-1, w.steps)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Errorf("step %d, %v: %v", n, w.steps, err)
		}
		if diff := cmp.Diff(before, w.String()); diff != "" {
			t.Errorf("after step %d of %v (-want +got):\n%s", n, w.steps, diff)
		}
	}
}

func TestInstall_CNIConfRefused(t *testing.T) {
	for name, text := range map[string]string{"README.md": "{}", "10-net.conflist": "{", "10-net": "{}"} {
		w := newWorld(t)
		o := w.withConf(t, name, text)
		if _, err := w.setup().Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "place CNI configuration: ") || !strings.Contains(err.Error(), o.CNIConf) {
			t.Errorf("%s: Install = %v, want one that names the file", name, err)
		}
		if got := w.String(); got != "" {
			t.Errorf("%s: left:\n%s", name, got)
		}
	}
	w := newWorld(t)
	o := w.withConf(t, "10-net.conf", "{}")
	o.CNIConf += ".gone.json"
	if _, err := w.setup().Install(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Install = %v, want that there is no such file", err)
	}
}
