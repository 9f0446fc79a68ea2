package ntfs

import (
	"errors"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

// fixture is a backend on a fake volume's root.
type fixture struct {
	t   *testing.T
	vol *ntfake.Volume
	b   *Backend
	dir share.Node // the root
}

func newFixture(t *testing.T, c ntfake.Config) *fixture {
	t.Helper()
	vol := ntfake.New(c)
	b, err := New(vol.Root(), Options{Path: `C:\share`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := vol.Handles(); n != 0 {
			t.Errorf("%d handles are left open:\n%v", n, vol)
		}
	})
	return &fixture{t, vol, b, b.Root()}
}

// ok fails the test on an error.
func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// wants fails the test unless the error is the errno.
func (f *fixture) wants(err error, want posix.Errno) {
	f.t.Helper()
	if got := posix.FromError(err); got != want {
		f.t.Fatalf("got %v (%s), want %s", err, got.Name(), want.Name())
	}
}

func (f *fixture) mkdir(in share.Node, name string) share.Node {
	f.t.Helper()
	n, _, err := in.Mkdir(name, share.New{Mode: posix.S_IFDIR | 0o755})
	f.ok(err)
	f.t.Cleanup(n.Release)
	return n
}

// create makes a file that is open for reading and writing.
func (f *fixture) create(in share.Node, name, content string) (share.Node, share.File) {
	f.t.Helper()
	n, file, _, err := in.Create(name, posix.O_RDWR|posix.O_EXCL, share.New{Mode: posix.S_IFREG | 0o644, Owner: share.Owner{UID: 7, GID: 8}})
	f.ok(err)
	_, err = file.WriteAt([]byte(content), 0, false)
	f.ok(err)
	f.t.Cleanup(n.Release)
	return n, file
}

func (f *fixture) file(in share.Node, name, content string) share.Node {
	f.t.Helper()
	n, file := f.create(in, name, content)
	f.ok(file.Close())
	return n
}

func (f *fixture) lookup(in share.Node, name string) (share.Node, share.Attr) {
	f.t.Helper()
	n, a, err := in.Lookup(name)
	f.ok(err)
	f.t.Cleanup(n.Release)
	return n, a
}

func (f *fixture) missing(in share.Node, name string) {
	f.t.Helper()
	n, _, err := in.Lookup(name)
	if err == nil {
		n.Release()
	}
	f.wants(err, posix.ENOENT)
}

func (f *fixture) attr(n share.Node) share.Attr {
	f.t.Helper()
	a, err := n.Attr()
	f.ok(err)
	return a
}

func (f *fixture) content(in share.Node, name string) string {
	f.t.Helper()
	n, a := f.lookup(in, name)
	file, err := n.Open(posix.O_RDONLY)
	f.ok(err)
	got := f.read(file, int(a.Size)+1)
	f.ok(file.Close())
	return got
}

func (f *fixture) read(file share.File, most int) string {
	f.t.Helper()
	b := make([]byte, most)
	n, err := file.ReadAt(b, 0)
	f.ok(err)
	return string(b[:n])
}

func (f *fixture) names(in share.Node) []string {
	f.t.Helper()
	d, err := in.OpenDir()
	f.ok(err)
	var names []string
	for cookie := uint64(0); ; {
		some, err := d.Read(cookie, 3)
		f.ok(err)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			if e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
			cookie = e.Cookie
		}
	}
	f.ok(d.Close())
	return names
}

// host opens a path as a program of the host does.
func (f *fixture) host(name string, r ntapi.OpenRequest) ntapi.Handle {
	f.t.Helper()
	root := f.vol.Root()
	r.Name = name
	if r.Disposition == 0 {
		r.Disposition = ntapi.DispositionOpenIf
	}
	h, _, err := root.Open(r)
	f.ok(errors.Join(err, root.Close()))
	return h
}

// hostFile makes a file as a program of the host does.
func (f *fixture) hostFile(name, content string) {
	f.t.Helper()
	h := f.host(name, ntapi.OpenRequest{Access: accessData, Share: ntapi.ShareAll})
	_, err := h.WriteAt([]byte(content), 0)
	f.ok(errors.Join(err, h.Close()))
}

// hostReparse makes a file or directory with a reparse point.
func (f *fixture) hostReparse(name string, options uint32, r ntapi.Reparse) {
	f.t.Helper()
	h := f.host(name, ntapi.OpenRequest{Access: accessData, Share: ntapi.ShareAll, Options: options | ntapi.OptionReparsePoint})
	f.ok(errors.Join(h.SetReparse(r), h.Close()))
}
