package backendtest

import (
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testRoot(e *env) {
	a := e.attr(e.root)
	if a.Mode&posix.S_IFMT != posix.S_IFDIR {
		e.Errorf("root's mode is %o", a.Mode)
	}
	if a.ID != e.root.ID() || a.ID == (share.FileID{}) || e.b.Root().ID() != a.ID {
		e.Errorf("root's identity: %v by Attr, %v by ID, %v again", a.ID, e.root.ID(), e.b.Root().ID())
	}
	if g := e.b.Features().TimeGran; g == 0 || g > 1e9 {
		e.Errorf("TimeGran = %d", g)
	}
	e.root.Release() // needs none, and does no harm
	e.attr(e.root)
}

func testLookup(e *env) {
	_, _, err := e.root.Lookup("a")
	e.fails("lookup of nothing", err, posix.ENOENT)
	made := e.file(e.root, "a", "x")
	n, a := e.lookup(e.root, "a")
	if n.ID() != made.ID() || a.ID != made.ID() || a != e.attr(made) {
		e.Errorf("found %+v, made %+v", a, e.attr(made))
	}
	_, _, err = n.Lookup("b")
	e.fails("lookup in a file", err, posix.ENOTDIR)
	for range 3 { // one Release for each
		again, _, err := e.root.Lookup("a")
		e.must(err)
		again.Release()
	}
	if e.content(made) != "x" {
		e.Error("a node is gone with another's Release")
	}
}

// made checks what a method says of a file that it made, against what is there then.
func (e *env) made(dir share.Node, name string, n share.Node, a share.Attr, want share.Attr) {
	e.Helper()
	e.keep(n)
	if a.Mode != want.Mode || a.UID != want.UID || a.GID != want.GID || a.Rdev != want.Rdev || a.ID != n.ID() {
		e.Errorf("%s: made %o %d:%d device %#x %v, want %o %d:%d device %#x %v", name,
			a.Mode, a.UID, a.GID, a.Rdev, a.ID, want.Mode, want.UID, want.GID, want.Rdev, n.ID())
	}
	if _, found := e.lookup(dir, name); found != a {
		e.Errorf("%s: found %+v, made %+v", name, found, a)
	}
}

func wanted(mode, rdev uint32) share.Attr {
	return share.Attr{Mode: mode, UID: owner.UID, GID: owner.GID, Rdev: rdev}
}

func testMkdir(e *env) {
	before := e.attr(e.root).Nlink
	for i, mode := range []uint32{0, 0o755, 0o777, 0o1777, 0o2755, 0o700} {
		name := string(rune('a' + i))
		n, a, err := e.root.Mkdir(name, share.New{Mode: posix.S_IFDIR | mode, Owner: owner})
		e.must(err)
		e.made(e.root, name, n, a, wanted(posix.S_IFDIR|mode, 0))
		if a.Nlink != 2 && a.Nlink != 1 {
			e.Errorf("a new folder has %d links", a.Nlink)
		}
	}
	if after := e.attr(e.root).Nlink; before != 1 && after != before+6 || before == 1 && after != 1 {
		e.Errorf("root has %d links, then %d after 6 folders", before, after)
	}
	_, _, err := e.root.Mkdir("a", share.New{Mode: posix.S_IFDIR | 0o755})
	e.fails("mkdir of what is there", err, posix.EEXIST)
	_, _, err = e.file(e.root, "file", "").Mkdir("x", share.New{Mode: posix.S_IFDIR | 0o755})
	e.fails("mkdir in a file", err, posix.ENOTDIR)
}

func testMknod(e *env) {
	for _, c := range []struct {
		name string
		mode uint32
		rdev uint32
	}{
		{"regular", posix.S_IFREG | 0o640, 0},
		{"fifo", posix.S_IFIFO | 0o622, 0},
		{"socket", posix.S_IFSOCK | 0o777, 0},
		{"char", posix.S_IFCHR | 0o666, posix.Makedev(1, 3)},
		{"block", posix.S_IFBLK | 0o660, posix.Makedev(259, 300000)},
		{"none", posix.S_IFREG, 0},
		{"suid", posix.S_IFREG | 0o6755, 0},
	} {
		n, a, err := e.root.Mknod(c.name, share.New{Mode: c.mode, Rdev: c.rdev, Owner: owner})
		if err != nil {
			e.Errorf("%s: %v", c.name, err)
			continue
		}
		e.made(e.root, c.name, n, a, wanted(c.mode, c.rdev))
		_, _, err = e.root.Mknod(c.name, share.New{Mode: c.mode, Rdev: c.rdev, Owner: owner})
		e.fails(c.name+" again", err, posix.EEXIST)
		if typ := c.mode & posix.S_IFMT; typ == posix.S_IFREG {
			continue
		}
		for _, flags := range []uint32{posix.O_RDONLY, posix.O_RDWR} {
			_, err = n.Open(flags)
			e.fails("open of "+c.name, err, posix.ENXIO)
		}
		_, err = n.SetAttr(share.SetAttr{Fields: share.SetSize, Size: 5})
		e.fails("size of "+c.name, err, posix.EINVAL)
		a = e.set(n, share.SetAttr{Fields: share.SetMode | share.SetUID, Mode: 0o601, UID: 7})
		if a.Mode != c.mode&posix.S_IFMT|0o601 || a.UID != 7 || a.Rdev != c.rdev {
			e.Errorf("%s after a change: %+v", c.name, a)
		}
		e.must(e.root.Rename(c.name, e.root, c.name+"2", 0))
		if _, found := e.lookup(e.root, c.name+"2"); found.Mode != a.Mode || found.Rdev != c.rdev {
			e.Errorf("%s after a rename: %+v", c.name, found)
		}
	}
}

func testSetgidFolder(e *env) {
	dir, _, err := e.root.Mkdir("d", share.New{Mode: posix.S_IFDIR | 0o2775, Owner: share.Owner{UID: 1, GID: 77}})
	e.must(err)
	e.keep(dir)
	want := wanted(posix.S_IFDIR|0o2755, 0)
	want.GID = 77
	n, a, err := dir.Mkdir("sub", share.New{Mode: posix.S_IFDIR | 0o755, Owner: owner})
	e.must(err)
	e.made(dir, "sub", n, a, want)
	want.Mode = posix.S_IFREG | 0o644
	n, f, a, err := dir.Create("file", posix.O_RDWR|posix.O_EXCL, share.New{Mode: want.Mode, Owner: owner})
	e.must(err)
	e.must(f.Close())
	e.made(dir, "file", n, a, want)
	want.Mode = posix.S_IFIFO | 0o600
	n, a, err = dir.Mknod("fifo", share.New{Mode: want.Mode, Owner: owner})
	e.must(err)
	e.made(dir, "fifo", n, a, want)
	want.Mode = posix.S_IFLNK | 0o777
	n, a, err = dir.Symlink("link", "x", owner)
	e.must(err)
	e.made(dir, "link", n, a, want)
}

func testSymlink(e *env) {
	for i, target := range []string{"x", "/etc/passwd", "../..", "not\xffUTF-8", strings.Repeat("a/", 2047) + "b", "/"} {
		name := string(rune('a' + i))
		n, a, err := e.root.Symlink(name, target, owner)
		e.must(err)
		e.made(e.root, name, n, a, wanted(posix.S_IFLNK|0o777, 0))
		if a.Size != uint64(len(target)) {
			e.Errorf("link to %d bytes has size %d", len(target), a.Size)
		}
		if got, err := n.Readlink(); err != nil || got != target {
			e.Errorf("Readlink = %.20q, %v, want %.20q", got, err, target)
		}
	}
	n, _ := e.lookup(e.root, "a")
	_, _, err := e.root.Symlink("a", "y", owner)
	e.fails("symlink over a name", err, posix.EEXIST)
	_, err = n.Open(posix.O_RDONLY)
	e.fails("open of a link", err, posix.ENXIO)
	_, err = n.OpenDir()
	e.fails("opendir of a link", err, posix.ENOTDIR)
	_, _, err = n.Lookup("x")
	e.fails("lookup in a link", err, posix.ENOTDIR)
	_, err = n.SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o600})
	e.fails("mode of a link", err, posix.EOPNOTSUPP)
	a := e.set(n, share.SetAttr{Fields: share.SetUID | share.SetGID | share.SetMtime, UID: 3, GID: 4, Mtime: share.Time{Sec: 1000}})
	if a.UID != 3 || a.GID != 4 || a.Mtime.Sec != 1000 || a.Mode != posix.S_IFLNK|0o777 {
		e.Errorf("link after a change: %+v", a)
	}
	_, err = e.root.Readlink()
	e.fails("readlink of a folder", err, posix.EINVAL)
	_, err = e.file(e.root, "file", "x").Readlink()
	e.fails("readlink of a file", err, posix.EINVAL)
}

func testLink(e *env) {
	n := e.file(e.root, "a", "x")
	dir := e.mkdir(e.root, "d")
	a, err := dir.Link("b", n)
	e.must(err)
	if a.Nlink != 2 || a.ID != n.ID() {
		e.Errorf("a linked file: %+v", a)
	}
	if found, b := e.lookup(dir, "b"); found.ID() != n.ID() || b != e.attr(n) {
		e.Errorf("found %+v, want %+v", b, e.attr(n))
	}
	_, err = e.root.Link("d", n)
	e.fails("link over a name", err, posix.EEXIST)
	_, err = e.root.Link("e", dir)
	e.fails("link of a folder", err, posix.EPERM)
	e.must(e.root.Unlink("a"))
	if a := e.attr(n); a.Nlink != 1 {
		e.Errorf("%d links, want 1", a.Nlink)
	}
	e.must(dir.Unlink("b"))
	_, err = e.root.Link("a", n)
	e.fails("link of a file without a name", err, posix.ENOENT)
	link, _, err := e.root.Symlink("l", "x", owner)
	e.must(err)
	e.keep(link)
	if _, err = dir.Link("l", link); err != nil {
		e.Errorf("link of a symbolic link: %v", err)
	}
}

func testCreate(e *env) {
	w := share.New{Mode: posix.S_IFREG | 0o640, Owner: owner}
	n, f, a, err := e.root.Create("a", posix.O_RDWR|posix.O_EXCL, w)
	e.must(err)
	e.made(e.root, "a", n, a, wanted(w.Mode, 0))
	if f.ID() != n.ID() || a.Size != 0 || a.Nlink != 1 {
		e.Errorf("a new file: %+v, open as %v", a, f.ID())
	}
	e.write(f, "hello", 0)
	e.must(f.Close())
	_, _, _, err = e.root.Create("a", posix.O_RDWR|posix.O_EXCL, w)
	e.fails("create of what is there", err, posix.EEXIST)
	again, f, a, err := e.root.Create("a", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o777})
	e.must(err)
	if e.keep(again).ID() != n.ID() || a.Mode != w.Mode || a.Size != 5 {
		e.Errorf("opened %v %+v, want %v", again.ID(), a, n.ID())
	}
	e.must(f.Close())
	again, f, a, err = e.root.Create("a", posix.O_WRONLY|posix.O_TRUNC, w)
	e.must(err)
	e.keep(again)
	if a.Size != 0 {
		e.Errorf("size %d after O_TRUNC", a.Size)
	}
	e.must(f.Close())
	e.mkdir(e.root, "d")
	_, _, _, err = e.root.Create("d", posix.O_RDWR, w)
	e.fails("create of a folder", err, posix.EISDIR)
	_, _, err = e.root.Mknod("p", share.New{Mode: posix.S_IFIFO | 0o600})
	e.must(err)
	_, _, _, err = e.root.Create("p", posix.O_RDWR, w)
	e.fails("create of a FIFO", err, posix.ENXIO)
	_, _, _, err = n.Create("x", posix.O_RDWR, w)
	e.fails("create in a file", err, posix.ENOTDIR)
}

func testModeZero(e *env) {
	n, f, a, err := e.root.Create("a", posix.O_RDWR|posix.O_EXCL, share.New{Mode: posix.S_IFREG, Owner: owner})
	e.must(err)
	e.made(e.root, "a", n, a, wanted(posix.S_IFREG, 0))
	e.write(f, "zero", 0)
	e.must(f.Close())
	if got := e.content(n); got != "zero" {
		e.Errorf("content %q", got)
	}
	again, f, _, err := e.root.Create("a", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o600})
	e.must(err)
	e.keep(again)
	e.must(f.Close())
	e.set(e.mkdir(e.root, "d"), share.SetAttr{Fields: share.SetMode})
	d, _ := e.lookup(e.root, "d")
	e.file(d, "x", "in a folder without permissions")
	if len(e.list(d)) != 1 {
		e.Error("a folder of mode 0 is not read")
	}
}

func testTmpfile(e *env) {
	w := share.New{Mode: posix.S_IFREG | 0o600, Owner: owner}
	n, f, a, err := e.root.Tmpfile(posix.O_RDWR, w)
	if e.lacks(Tmpfile) {
		e.fails("tmpfile", err, posix.EOPNOTSUPP)
		return
	}
	e.must(err)
	e.keep(n)
	if a.Nlink != 0 || a.Mode != w.Mode || a.UID != owner.UID || a.GID != owner.GID || f.ID() != n.ID() {
		e.Errorf("a file without a name: %+v", a)
	}
	e.write(f, "later", 0)
	if len(e.list(e.root)) != 0 {
		e.Error("a file without a name is listed")
	}
	a, err = e.root.Link("named", n)
	e.must(err)
	if a.Nlink != 1 || e.at(e.root, "named") != "later" {
		e.Errorf("a file that was named later: %+v", a)
	}
	e.must(f.Close())
	_, _, _, err = n.Tmpfile(posix.O_RDWR, w)
	e.fails("tmpfile in a file", err, posix.ENOTDIR, posix.EOPNOTSUPP)
}
