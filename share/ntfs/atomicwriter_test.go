package ntfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

// atomicWriter writes a volume of the host as a Windows kubelet does its config maps,
// secrets and projected volumes (its pkg/volume/util/atomic_writer.go): a folder for the
// content, a link ..data to that, and for each key a link into ..data, whose target has
// a backslash. An update makes a new folder, then removes ..data and makes it anew.
type atomicWriter struct {
	f       *fixture
	current string
}

func (w *atomicWriter) write(folder string, keys map[string]string) {
	w.f.t.Helper()
	f := w.f
	dir := f.host(folder, ntapi.OpenRequest{Access: accessData, Share: ntapi.ShareAll, Options: ntapi.OptionDirectory})
	for key, content := range keys {
		h, _, err := dir.Open(ntapi.OpenRequest{Name: key, Access: accessData, Share: ntapi.ShareAll, Disposition: ntapi.DispositionOpenIf})
		f.ok(err)
		_, err = h.WriteAt([]byte(content), 0)
		f.ok(errors.Join(err, h.Close()))
	}
	f.ok(dir.Close())
	if w.current != "" {
		w.remove("..data")
	}
	f.hostReparse("..data", ntapi.OptionDirectory, ntapi.Symlink(folder, true))
	for key := range keys {
		if w.current == "" {
			f.hostReparse(key, 0, ntapi.Symlink(`..data\`+key, true))
		}
	}
	w.current = folder
}

func (w *atomicWriter) remove(name string) {
	w.f.t.Helper()
	h := w.f.host(name, ntapi.OpenRequest{Access: ntapi.AccessDelete, Share: ntapi.ShareAll, Options: ntapi.OptionReparsePoint, Disposition: ntapi.DispositionOpen})
	w.f.ok(errors.Join(h.SetDisposition(ntapi.DispositionDelete), h.Close()))
}

// through reads a file as a guest's kernel does: it follows links itself, by slashes.
func (w *atomicWriter) through(name string) string {
	w.f.t.Helper()
	at, left := w.f.dir, strings.Split(name, "/")
	for steps := 0; ; steps++ {
		if steps > 20 {
			w.f.t.Fatalf("%s: the links go round", name)
		}
		if len(left) == 1 {
			if n, a := w.f.lookup(at, left[0]); a.Mode&posix.S_IFMT != posix.S_IFLNK {
				return w.f.content(at, left[0])
			} else {
				left = w.target(n)
			}
			continue
		}
		n, a := w.f.lookup(at, left[0])
		if a.Mode&posix.S_IFMT == posix.S_IFLNK {
			left = append(w.target(n), left[1:]...)
			continue
		}
		at, left = n, left[1:]
	}
}

func (w *atomicWriter) target(n share.Node) []string {
	w.f.t.Helper()
	target, err := n.Readlink()
	w.f.ok(err)
	if strings.Contains(target, `\`) {
		w.f.t.Fatalf("the guest reads the target %q", target)
	}
	return strings.Split(target, "/")
}

// TestAtomicWriter: what a Windows kubelet writes is what a guest reads, before and after
// an update.
func TestAtomicWriter(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	w := &atomicWriter{f: f}
	w.write("..2026_11_26_1", map[string]string{"key": "old", "other": "same"})
	for name, want := range map[string]string{"key": "old", "other": "same", "..data/key": "old"} {
		if got := w.through(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	w.write("..2026_11_26_2", map[string]string{"key": "new", "other": "same"})
	if got := w.through("key"); got != "new" {
		t.Errorf("key after the update = %q", got)
	}
}
