package hostfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// TestSwappedForLink: while one on the host exchanges a folder and a link to the outside
// all the time, everything happens within the root.
func TestSwappedForLink(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	touch(t, filepath.Join(outside, "secret"))
	inside := filepath.Join(dir, "d")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	fs := open(t, dir, Options{HostToContainer: true})
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, inside, unix.AT_FDCWD, filepath.Join(dir, "l"), unix.RENAME_EXCHANGE); err != nil {
				t.Errorf("swap: %v", err)
				return
			}
		}
	})
	folders, links := 0, 0
	for i := range 3000 {
		n, a, err := fs.Root().Lookup("d")
		if err != nil {
			t.Fatal(err)
		}
		if a.Mode&posix.S_IFMT == posix.S_IFLNK {
			links++
		} else {
			folders++
		}
		if got, err := n.OpenDir(); err == nil {
			list, err := got.Read(0, 10)
			for _, e := range list {
				if e.Name == "secret" {
					t.Fatal("listed what is outside")
				}
			}
			if err != nil {
				t.Error(err)
			}
			if err := got.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, posix.ENOTDIR) {
			t.Errorf("opendir: %v", err)
		}
		if _, _, err := n.Lookup("secret"); !errors.Is(err, posix.ENOENT) && !errors.Is(err, posix.ENOTDIR) {
			t.Fatalf("lookup of what is outside: %v", err)
		}
		child, f, _, err := n.Create(fmt.Sprint("new", i%10), posix.O_RDWR, share.New{Mode: 0o644})
		if err == nil {
			child.Release()
			err = f.Close()
		}
		if err != nil && !errors.Is(err, posix.ENOTDIR) {
			t.Errorf("create: %v", err)
		}
		if err := n.Setxattr("user.swapped", nil, 0); err != nil && !errors.Is(err, posix.EPERM) {
			t.Errorf("setxattr: %v", err)
		}
		if _, err := n.SetAttr(share.SetAttr{Fields: share.SetUID | share.SetGID, UID: 77, GID: 77}); err != nil {
			t.Errorf("chown: %v", err)
		}
		n.Release()
	}
	close(stop)
	swapper.Wait()
	if folders == 0 || links == 0 {
		t.Logf("saw %d folders, %d links: the swaps were not seen", folders, links)
	}
	list, err := os.ReadDir(outside)
	if err != nil || len(list) != 1 {
		t.Errorf("outside there are %v, %v", list, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(outside, &st); err != nil || st.Uid == 77 {
		t.Errorf("outside belongs to %d, %v", st.Uid, err)
	}
}

// TestNamesAreComponents: not one way leads up or down but a folder's own names.
func TestNamesAreComponents(t *testing.T) {
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	sub := mkdir(t, fs.Root(), "sub")
	defer sub.Release()
	for _, name := range []string{"", ".", "..", "../x", "/", "a/b", "sub/..", "a\x00b", strings.Repeat("x", 256), "/etc/passwd"} {
		w := share.New{Mode: 0o644}
		_, _, e1 := sub.Lookup(name)
		_, _, e2 := sub.Mkdir(name, w)
		_, _, e3 := sub.Mknod(name, w)
		_, _, e4 := sub.Symlink(name, "x", share.Owner{})
		_, _, _, e5 := sub.Create(name, posix.O_RDWR, w)
		_, e6 := sub.Link(name, fs.Root())
		for i, err := range []error{e1, e2, e3, e4, e5, e6, sub.Unlink(name), sub.Rmdir(name), sub.Rename(name, sub, "x", 0), sub.Rename("x", sub, name, 0)} {
			if got := posix.FromError(err); got != posix.EINVAL && got != posix.ENAMETOOLONG {
				t.Errorf("%q by way %d: %v", name, i, err)
			}
		}
	}
}

// TestFolderVanishes: the host removes what is served.
func TestFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(dir, "f"))
	fs := open(t, dir, Options{})
	f, _ := lookup(t, fs.Root(), "f")
	sub, _ := lookup(t, fs.Root(), "sub")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, n := range []share.Node{fs.Root(), sub, f} {
		if _, err := n.Attr(); err != nil {
			t.Errorf("attributes: %v", err)
		}
	}
	for _, n := range []share.Node{fs.Root(), sub} {
		if _, _, err := n.Lookup("f"); !errors.Is(err, posix.ENOENT) {
			t.Errorf("lookup: %v", err)
		}
		if _, _, _, err := n.Create("new", posix.O_RDWR, share.New{Mode: 0o644}); !errors.Is(err, posix.ENOENT) {
			t.Errorf("create: %v", err)
		}
	}
	file, err := f.Open(posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.ReadAt(make([]byte, 10), 0); err != nil || n != 10 {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// TestHostDevices: what the host has is shown as it is, and never opened; what a guest
// makes is no device on the host.
func TestHostDevices(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		testneed.Skip(t, "devices: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "null"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	fs := open(t, dir, Options{})
	n, a := lookup(t, fs.Root(), "null")
	if a.Mode != posix.S_IFCHR|0o666 || a.Rdev != posix.Makedev(1, 3) {
		t.Errorf("a device of the host: %+v", a)
	}
	fifo, _ := lookup(t, fs.Root(), "fifo")
	for _, n := range []share.Node{n, fifo} {
		if _, err := n.Open(posix.O_RDWR); !errors.Is(err, posix.ENXIO) {
			t.Errorf("open: %v", err)
		}
	}
	made, _, err := fs.Root().Mknod("disk", share.New{Mode: posix.S_IFBLK | 0o660, Rdev: posix.Makedev(8, 0)})
	if err != nil {
		t.Fatal(err)
	}
	made.Release()
	if fi, err := os.Lstat(filepath.Join(dir, "disk")); err != nil || !fi.Mode().IsRegular() || fi.Size() != 0 {
		t.Errorf("on the host: %v, %v", fi.Mode(), err)
	}
	// A server that starts anew finds the same.
	_, a = lookup(t, open(t, dir, Options{}).Root(), "disk")
	if a.Mode != posix.S_IFBLK|0o660 || a.Rdev != posix.Makedev(8, 0) {
		t.Errorf("found again: %+v", a)
	}
}

// TestRootTypes: a folder by way of a link, a single file, and what cannot be served.
func TestRootTypes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(dir, "f"))
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup(t, open(t, filepath.Join(dir, "self"), Options{}).Root(), "f")
	file := open(t, filepath.Join(dir, "f"), Options{}).Root()
	if a, err := file.Attr(); err != nil || a.Mode&posix.S_IFMT != posix.S_IFREG {
		t.Errorf("a file as root: %+v, %v", a, err)
	}
	if _, _, err := file.Lookup(".."); err == nil {
		t.Error("the file's folder is reached")
	}
	for name, want := range map[string]posix.Errno{"fifo": posix.EINVAL, "none": posix.ENOENT} {
		if _, err := Open(filepath.Join(dir, name), Options{}); !errors.Is(err, want) {
			t.Errorf("open %s: %v, want %v", name, err, want)
		}
	}
}

func TestCapabilitiesAreKilled(t *testing.T) {
	testneed.Root(t)
	// What setcap(8) writes for cap_net_raw=ep.
	value := append([]byte{1, 0, 0, 2, 0, 0x20}, make([]byte, 14)...)
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	n, f, _, err := fs.Root().Create("f", posix.O_RDWR, share.New{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	for name, change := range map[string]func() error{
		"write": func() error { _, err := f.WriteAt([]byte("x"), 0, true); return err },
		"chown": func() error { _, err := n.SetAttr(share.SetAttr{Fields: share.SetUID, UID: 5}); return err },
		"truncate": func() error {
			_, err := n.SetAttr(share.SetAttr{Fields: share.SetSize | share.KillSUIDGID})
			return err
		},
		"kill": func() error { _, err := n.SetAttr(share.SetAttr{Fields: share.KillSUIDGID}); return err },
	} {
		if err := n.Setxattr(capabilityName, value, 0); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := n.Getxattr(capabilityName); err != posix.ENODATA {
			t.Errorf("after %s there are %q, %v", name, got, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
