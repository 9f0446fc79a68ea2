package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

func TestIsZero(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		at   int // of a byte that is not zero; -1: none
		want bool
	}{
		{"empty", 0, -1, true}, {"small", 4096, -1, true}, {"zero", 2 << 20, -1, true},
		{"first_byte", 4096, 0, false}, {"last_looked_at", 2 << 20, blankBytes - 1, false}, {"past_it", 2 << 20, blankBytes, true},
	} {
		b := make([]byte, tt.size)
		if tt.at >= 0 {
			b[tt.at] = 1
		}
		name := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := isZero(f)
		f.Close()
		if got != tt.want || err != nil {
			t.Errorf("%s: isZero = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestBind: links in a sub path are followed inside the root, and none leads out of it.
func TestBind(t *testing.T) {
	testneed.Root(t)
	outer := t.TempDir()
	root := filepath.Join(outer, "root")
	for _, dir := range []string{"root/etc/app", "root/usr", "secret"} {
		if err := os.MkdirAll(filepath.Join(outer, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"root/etc/app/conf": "inside", "secret/conf": "outside"} {
		if err := os.WriteFile(filepath.Join(outer, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"usr/etc": "/etc", "climbs": "../../secret", "absolute": filepath.Join(outer, "secret"), "proc": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := new(Disks)
	for i, tt := range []struct {
		sub, file string // file below the target; empty: the target is the file
		ok        bool
	}{
		{"etc/app", "conf", true}, {"etc/app/conf", "", true}, {"usr/etc/app", "conf", true}, {"etc/./app/", "conf", true},
		{"climbs", "", false}, {"climbs/conf", "", false}, {"absolute", "", false}, {"proc/etc", "", false}, {"none", "", false},
		{"../secret", "", false},
	} {
		target := filepath.Join(outer, "targets", string(rune('a'+i)))
		err := d.Bind(root, tt.sub, target)
		if !tt.ok {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("Bind(%s) = %v, want InvalidArgument", tt.sub, err)
			}
			unix.Unmount(target, unix.MNT_DETACH)
			continue
		}
		if err != nil {
			t.Errorf("Bind(%s) = %v", tt.sub, err)
			continue
		}
		if b, err := os.ReadFile(filepath.Join(target, tt.file)); string(b) != "inside" {
			t.Errorf("Bind(%s) shows %q, %v", tt.sub, b, err)
		}
		if err := d.Unmount(t.Context(), target); err != nil {
			t.Error(err)
		}
	}
}
