package hostfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func lookup(t *testing.T, in share.Node, name string) (share.Node, share.Attr) {
	t.Helper()
	n, a, err := in.Lookup(name)
	if err != nil {
		t.Fatalf("lookup %q: %v", name, err)
	}
	t.Cleanup(n.Release)
	return n, a
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mountAt(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // the test may have done it
}

// TestNestedMounts: mounts are those of the moment of Open, and the host's stay its own.
func TestNestedMounts(t *testing.T) {
	dir := mountTmpfs(t, "size=1m")
	for _, sub := range []string{"before", "after"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mountAt(t, filepath.Join(dir, "before"))
	touch(t, filepath.Join(dir, "before", "f"))
	touch(t, filepath.Join(dir, "f"))
	fs, live := open(t, dir, Options{}), open(t, dir, Options{HostToContainer: true})
	mountAt(t, filepath.Join(dir, "after"))
	touch(t, filepath.Join(dir, "after", "f"))

	before, _ := lookup(t, fs.Root(), "before")
	_, inner := lookup(t, before, "f")
	_, outer := lookup(t, fs.Root(), "f")
	if inner.ID.Volume == outer.ID.Volume || inner.Ino == outer.Ino {
		t.Errorf("files of two file systems: %+v and %+v", inner, outer)
	}
	if err := fs.Root().Rename("f", before, "g", 0); !errors.Is(err, posix.EXDEV) {
		t.Errorf("rename to another file system: %v", err)
	}
	after, _ := lookup(t, fs.Root(), "after")
	if _, _, err := after.Lookup("f"); !errors.Is(err, posix.ENOENT) {
		t.Errorf("a later mount is seen: %v", err)
	}
	liveAfter, _, err := live.Root().Lookup("after")
	if err != nil {
		t.Fatal(err)
	}
	liveFile, _, err := liveAfter.Lookup("f")
	if err != nil {
		t.Fatalf("a later mount is not seen: %v", err)
	}
	liveFile.Release()
	if err := unix.Unmount(filepath.Join(dir, "after"), 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the host unmounts what is in use: %v", err)
	}
	liveAfter.Release()
	if err := unix.Unmount(filepath.Join(dir, "after"), 0); err != nil {
		t.Errorf("the host cannot unmount what is not in use any more: %v", err)
	}
	if err := unix.Unmount(filepath.Join(dir, "before"), 0); err != nil {
		t.Errorf("the host cannot unmount: %v", err)
	}
	if _, err := before.Attr(); err != nil {
		t.Errorf("after the host unmounted: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	for _, c := range []struct {
		name          string
		o             Options
		nestedRefused bool
		kernel        bool
	}{
		{"plain", Options{ReadOnly: true}, false, true},
		{"recursive", Options{RecursiveReadOnly: true}, true, true},
		{"live", Options{ReadOnly: true, HostToContainer: true}, false, false},
		{"live-recursive", Options{RecursiveReadOnly: true, HostToContainer: true}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := mountTmpfs(t, "size=1m")
			nested := filepath.Join(dir, "nested")
			if err := os.Mkdir(nested, 0o755); err != nil {
				t.Fatal(err)
			}
			mountAt(t, nested)
			touch(t, filepath.Join(dir, "f"))
			fs := open(t, dir, c.o)
			f, _ := lookup(t, fs.Root(), "f")
			refused(t, fs.Root(), f)
			if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != filepath.Join(dir, "f") {
				t.Errorf("the file has %q, %v", got, err)
			}
			var st unix.Statfs_t
			fd, err := fs.root.hold()
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Fstatfs(fd, &st); err != nil || st.Flags&unix.ST_RDONLY != 0 != c.kernel {
				t.Errorf("the kernel's flags are %#x, %v", st.Flags, err)
			}
			fs.root.drop()
			n, _ := lookup(t, fs.Root(), "nested")
			made, _, err := n.Mkdir("x", share.New{Mode: 0o755})
			if err == nil {
				made.Release()
			}
			if errors.Is(err, posix.EROFS) != c.nestedRefused {
				t.Errorf("mkdir in a mount below: %v", err)
			}
		})
	}
}

// refused checks that every change is EROFS.
func refused(t *testing.T, dir, f share.Node) {
	t.Helper()
	w := share.New{Mode: 0o644}
	for name, change := range map[string]func() error{
		"setattr":     func() error { _, err := f.SetAttr(share.SetAttr{Fields: share.SetMode}); return err },
		"truncate":    func() error { _, err := f.SetAttr(share.SetAttr{Fields: share.SetSize}); return err },
		"mkdir":       func() error { _, _, err := dir.Mkdir("x", w); return err },
		"mknod":       func() error { _, _, err := dir.Mknod("x", w); return err },
		"symlink":     func() error { _, _, err := dir.Symlink("x", "y", share.Owner{}); return err },
		"link":        func() error { _, err := dir.Link("x", f); return err },
		"create":      func() error { _, _, _, err := dir.Create("x", posix.O_RDWR, w); return err },
		"create-over": func() error { _, _, _, err := dir.Create("f", posix.O_RDWR, w); return err },
		"tmpfile":     func() error { _, _, _, err := dir.Tmpfile(posix.O_RDWR, w); return err },
		"unlink":      func() error { return dir.Unlink("f") },
		"rmdir":       func() error { return dir.Rmdir("nested") },
		"rename":      func() error { return dir.Rename("f", dir, "x", 0) },
		"setxattr":    func() error { return f.Setxattr("user.x", nil, 0) },
		"removexattr": func() error { return f.Removexattr("user.x") },
		"open":        func() error { _, err := f.Open(posix.O_WRONLY); return err },
		"open-trunc":  func() error { _, err := f.Open(posix.O_RDONLY | posix.O_TRUNC); return err },
	} {
		if err := change(); !errors.Is(err, posix.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
	file, err := f.Open(posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// TestFullDisk: on a file system that has blocks to lose, and on one in memory.
func TestFullDisk(t *testing.T) {
	t.Run("tmpfs", func(t *testing.T) { testFull(t, mountTmpfs(t, "size=256k,nr_inodes=64")) })
	t.Run("ext4", func(t *testing.T) {
		testneed.Root(t)
		testneed.Program(t, "mkfs.ext4", "mount")
		disk, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
		touch(t, disk)
		if err := os.Truncate(disk, 4<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-N", "64", disk).CombinedOutput(); err != nil {
			t.Fatalf("mkfs: %v %s", err, out)
		}
		if out, err := exec.Command("mount", "-o", "loop", disk, dir).CombinedOutput(); err != nil {
			testneed.Skip(t, "loop devices: %v %s", err, out)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		testFull(t, dir)
	})
}

func testFull(t *testing.T, dir string) {
	fs := open(t, dir, Options{})
	n, f, _, err := fs.Root().Create("f", posix.O_RDWR, share.New{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	buf, total := make([]byte, 100_000), 0
	for err == nil {
		var wrote int
		wrote, err = f.WriteAt(buf, int64(total), false)
		total += wrote
	}
	a, aerr := n.Attr()
	if !errors.Is(err, posix.ENOSPC) || aerr != nil || a.Size != uint64(total) {
		t.Errorf("wrote %d: %v; size %d, %v", total, err, a.Size, aerr)
	}
	if err := f.Fallocate(0, 0, 1<<30); !errors.Is(err, posix.ENOSPC) {
		t.Errorf("fallocate: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if s, err := n.StatFS(); err != nil || s.Available != 0 && s.Available*uint64(s.FragmentSize) > 64<<10 {
		t.Errorf("StatFS: %+v, %v", s, err)
	}
	if _, err := n.SetAttr(share.SetAttr{Fields: share.SetSize}); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil || !errors.Is(err, posix.ENOSPC); i++ {
		var child share.Node
		if child, _, err = fs.Root().Mknod(string(rune('A'+i)), share.New{Mode: posix.S_IFCHR | 0o600}); err == nil {
			child.Release()
		}
		if i > 200 {
			t.Fatalf("the inodes do not end: %v", err)
		}
	}
}
