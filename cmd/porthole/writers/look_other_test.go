//go:build !windows

package writers

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLook_Modes: whoever owns them, what all may write is told of the folder, a file and
// a folder above, also of one that is reached by a link.
func TestLook_Modes(t *testing.T) {
	above := filepath.Join(t.TempDir(), "above")
	dir, link := filepath.Join(above, "bin"), filepath.Join(t.TempDir(), "link")
	plugin := filepath.Join(dir, "plugin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plugin, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for path, role := range map[string]Role{above: Above, dir: Folder, plugin: File} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{dir, link} {
			found, err := Look(by)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, w := range found {
				want := path
				if role == File {
					want = filepath.Join(by, "plugin")
				}
				if !w.Wide || by == link && role == Folder && w.Path == link {
					continue // a link stands for the folder
				}
				if n++; w.Path != want || w.Role != role || w.Fix != "chmod go-w '"+want+"'" {
					t.Errorf("%s with all's right to write: Look(%s) has %+v", path, by, w)
				}
			}
			if n != 1 {
				t.Errorf("Look(%s) = %+v, want everyone at %s", by, found, path)
			}
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
