package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func hash(c string) string { return strings.Repeat(c, 64) }

// fakeArchive holds stanzas by package, oldest version first.
type fakeArchive map[string][]stanza

func (a fakeArchive) find(_ context.Context, pkg, version string, isSource bool) (string, error) {
	for _, s := range a[pkg] {
		if s["version"] == version {
			return digestOf(s, isSource), nil
		}
	}
	return "", fmt.Errorf("package %s=%s: %w", pkg, version, errdefs.ErrNotFound)
}

func (a fakeArchive) newest(_ context.Context, pkg string, _ bool) (stanza, error) {
	if all := a[pkg]; len(all) > 0 {
		return all[len(all)-1], nil
	}
	return nil, fmt.Errorf("package %s: %w", pkg, errdefs.ErrNotFound)
}

func debStanza(version, digest string) stanza { return stanza{"version": version, "sha256": digest} }

func TestResolve(t *testing.T) {
	archive := fakeArchive{
		"crun":    {{"version": "1.8-2", "checksums-sha256": "\n" + hash("c") + " 2367 crun_1.8-2.dsc\n" + hash("d") + " 9 crun.tar"}},
		"libc":    {debStanza("2.36-1", hash("1")), debStanza("2.36-2", hash("2"))},
		"meta":    {{"version": "6.1.9", "sha256": hash("0"), "depends": "linux-9 (= 6.1.9), other"}},
		"linux-9": {debStanza("6.1.9", hash("9"))},
		"bad":     {debStanza("-o=evil", hash("1"))},
		"empty":   {{"version": "1", "sha256": hash("0")}},
	}
	libc := want{role: "libc", name: "libc"}
	meta := want{role: "kernel", name: "meta", isMeta: true}
	crun := want{role: "crun", name: "crun", isSource: true}
	pin := func(role, pkg, version, digest string) Pin {
		return Pin{Role: role, Package: pkg, Version: version, SHA256: digest}
	}
	tests := []struct {
		name   string
		want   want
		pin    Pin
		update bool
		got    Pin
		kind   func(error) bool
	}{
		{name: "pinned", want: libc, pin: pin("libc", "libc", "2.36-1", hash("1")), got: pin("libc", "libc", "2.36-1", hash("1"))},
		{name: "pin_is_gone", want: libc, pin: pin("libc", "libc", "2.36-0", hash("f")), got: pin("libc", "libc", "2.36-2", hash("2"))},
		{name: "kernel_is_gone", want: meta, pin: pin("kernel", "linux-8", "6.1.8", hash("8")), got: pin("kernel", "linux-9", "6.1.9", hash("9"))},
		{name: "update", want: libc, pin: pin("libc", "libc", "2.36-1", hash("1")), update: true, got: pin("libc", "libc", "2.36-2", hash("2"))},
		{name: "update_adds", want: crun, update: true, got: Pin{Role: "crun", Package: "crun", IsSource: true, Version: "1.8-2", SHA256: hash("c")}},
		{name: "other_digest", want: libc, pin: pin("libc", "libc", "2.36-2", hash("f")), kind: errdefs.IsFailedPrecondition},
		{name: "other_digest_update", want: libc, pin: pin("libc", "libc", "2.36-2", hash("f")), update: true, kind: errdefs.IsFailedPrecondition},
		{name: "no_pin", want: libc, kind: errdefs.IsFailedPrecondition},
		{name: "unknown_package", want: want{role: "x", name: "x"}, update: true, kind: errdefs.IsNotFound},
		{name: "odd_version", want: want{role: "bad", name: "bad"}, update: true, kind: errdefs.IsInvalidArgument},
		{name: "empty_meta", want: want{role: "k", name: "empty", isMeta: true}, update: true, kind: errdefs.IsFailedPrecondition},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolve(t.Context(), archive, tt.want, tt.pin, tt.update)
			if tt.kind != nil {
				if !tt.kind(err) {
					t.Errorf("resolve = %v, %v, which is the wrong kind", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.got, got); diff != "" {
				t.Errorf("resolve (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPins_WrittenAndRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pins.json")
	pins := []Pin{
		{Role: "libc", Package: "libc6-dev", Version: "2.36-9+deb12u14", SHA256: hash("1")},
		{Role: "crun", Package: "crun", IsSource: true, Version: "1:1.8~rc1-1", SHA256: hash("2")},
	}
	if err := writePins(file, pins); err != nil {
		t.Fatal(err)
	}
	got, err := readPins(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Pin{pins[1], pins[0]}, got); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
}

// TestPins_OfTheTree checks the committed file: each package that a guest may
// have is pinned, and nothing else.
func TestPins_OfTheTree(t *testing.T) {
	pins, err := readPins(filepath.Join("..", "pins.json"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, p := range pins {
		have[p.Role] = p.IsSource
	}
	for _, w := range allWants() {
		if isSource, ok := have[w.role]; !ok || isSource != w.isSource {
			t.Errorf("pins.json does not pin %q as it is wanted: %+v", w.role, w)
		}
		delete(have, w.role)
	}
	for role := range have {
		t.Errorf("pins.json pins %q, which nothing wants", role)
	}
}

func TestReadPins_Refused(t *testing.T) {
	entry := func(pkg, version, digest string) string {
		return fmt.Sprintf(`{"role":"a","package":%q,"version":%q,"sha256":%q}`, pkg, version, digest)
	}
	good := entry("libc", "1", hash("1"))
	for name, text := range map[string]string{
		"empty":         "",
		"unknown_field": `{"pins":[],"more":1}`,
		"twice":         `{"pins":[` + good + "," + good + `]}`,
		"short_digest":  `{"pins":[` + entry("libc", "1", "12") + `]}`,
		"option":        `{"pins":[` + entry("-o=x", "1", hash("1")) + `]}`,
		"no_version":    `{"pins":[` + entry("libc", "", hash("1")) + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pins.json")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := readPins(file); !errdefs.IsInvalidArgument(err) {
				t.Errorf("readPins = %v, want InvalidArgument", err)
			}
		})
	}
}

func FuzzParsePins(f *testing.F) {
	f.Add([]byte(`{"pins":[{"role":"a","package":"b","version":"1","sha256":"` + hash("1") + `"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		pins, err := parsePins(text)
		if err != nil {
			return
		}
		if _, err := parsePins(mustJSON(pinFileFormat{pins})); err != nil {
			t.Errorf("parsed pins are refused when written: %v", err)
		}
	})
}
