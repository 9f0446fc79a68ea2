package hostfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// open serves a folder for a test.
func open(t *testing.T, path string, o Options) *FS {
	t.Helper()
	fs, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	n, f, a, err := fs.Root().Create("a", posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o640, Owner: share.Owner{UID: 5, GID: 6}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	t.Logf("%+v", a)
	if _, err := f.WriteAt([]byte("hello"), 0, true); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil || string(b) != "hello" {
		t.Fatal(string(b), err)
	}
	d, err := fs.Root().OpenDir()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	list, err := d.Read(0, 100)
	t.Log(list, err)
	dev, a, err := fs.Root().Mknod("null", share.New{Mode: posix.S_IFCHR | 0o666, Rdev: posix.Makedev(1, 3)})
	if err != nil {
		t.Fatal(err)
	}
	dev.Release()
	t.Logf("%+v", a)
	sl, a, err := fs.Root().Symlink("l", "target", share.Owner{UID: 1, GID: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", a)
	if a, err = sl.SetAttr(share.SetAttr{Fields: share.SetMtime, Mtime: share.Time{Sec: 1, Nsec: 2}}); err != nil || a.Mtime.Nsec != 2 {
		t.Fatal(a, err)
	}
	sl.Release()
	fs.closed.Add(0)
}
