package backendtest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testUnlink(e *env) {
	e.file(e.root, "a", "")
	dir := e.mkdir(e.root, "d")
	e.file(dir, "x", "")
	e.fails("unlink of nothing", e.root.Unlink("none"), posix.ENOENT)
	e.fails("unlink of a folder", e.root.Unlink("d"), posix.EISDIR)
	e.fails("rmdir of nothing", e.root.Rmdir("none"), posix.ENOENT)
	e.fails("rmdir of a file", e.root.Rmdir("a"), posix.ENOTDIR)
	e.fails("rmdir of a full folder", e.root.Rmdir("d"), posix.ENOTEMPTY)
	e.must(dir.Unlink("x"))
	e.must(e.root.Rmdir("d"))
	e.must(e.root.Unlink("a"))
	if list := e.list(e.root); len(list) != 0 {
		e.Errorf("left: %v", list)
	}
}

func testUnlinked(e *env) {
	n := e.file(e.root, "a", "content")
	f := e.open(n, posix.O_RDWR)
	e.must(e.root.Unlink("a"))
	if e.exists(e.root, "a") {
		e.Fatal("a removed name is still there")
	}
	if a := e.attr(n); a.Nlink != 0 || a.Size != 7 {
		e.Errorf("a removed file: %+v", a)
	}
	a := e.set(n, share.SetAttr{Fields: share.SetMode | share.SetUID | share.SetSize | share.SetMtime,
		Mode: 0o604, UID: 9, Size: 3, Mtime: share.Time{Sec: 55}})
	if a.Mode != posix.S_IFREG|0o604 || a.UID != 9 || a.Size != 3 || a.Mtime.Sec != 55 {
		e.Errorf("a removed file after a change: %+v", a)
	}
	e.write(f, "more", 3)
	if got := e.content(n); got != "conmore" {
		e.Errorf("a removed file has %q", got)
	}
	if !e.lacks(UserXattr) {
		e.must(n.Setxattr("user.x", []byte("y"), 0))
		if v, err := n.Getxattr("user.x"); err != nil || string(v) != "y" {
			e.Errorf("attribute of a removed file: %q, %v", v, err)
		}
	}
	// Another file of the name is another file.
	if other := e.file(e.root, "a", "other"); other.ID() == n.ID() || e.content(n) != "conmore" {
		e.Error("a removed file and its successor are one")
	}
}

func testRemovedFolder(e *env) {
	dir := e.mkdir(e.root, "d")
	d, err := dir.OpenDir()
	e.must(err)
	e.must(e.root.Rmdir("d"))
	if e.lacks(UnlinkedFolder) {
		e.must(d.Close())
		return
	}
	w := share.New{Mode: 0o644, Owner: owner}
	_, _, err = dir.Lookup("x")
	e.fails("lookup", err, posix.ENOENT)
	_, _, err = dir.Mkdir("x", w)
	e.fails("mkdir", err, posix.ENOENT)
	_, _, err = dir.Mknod("x", share.New{Mode: posix.S_IFREG | 0o644})
	e.fails("mknod", err, posix.ENOENT)
	_, _, err = dir.Symlink("x", "y", owner)
	e.fails("symlink", err, posix.ENOENT)
	_, _, _, err = dir.Create("x", posix.O_RDWR|posix.O_EXCL, w)
	e.fails("create", err, posix.ENOENT)
	n := e.file(e.root, "a", "")
	_, err = dir.Link("x", n)
	e.fails("link", err, posix.ENOENT)
	e.fails("rename", e.root.Rename("a", dir, "x", 0), posix.ENOENT)
	e.fails("unlink", dir.Unlink("x"), posix.ENOENT)
	if list, err := d.Read(0, 10); err != nil || len(list) != 0 {
		e.Errorf("a removed folder has %v, %v", list, err)
	}
	e.must(d.Close())
	if a := e.attr(dir); a.Nlink != 0 {
		e.Errorf("a removed folder has %d links", a.Nlink)
	}
}

func testRename(e *env) {
	n := e.file(e.root, "a", "A")
	d1, d2 := e.mkdir(e.root, "d1"), e.mkdir(e.root, "d2")
	sub := e.mkdir(d1, "sub")
	e.file(sub, "deep", "D")
	e.must(e.root.Rename("a", e.root, "b", 0))
	e.must(e.root.Rename("b", d1, "c", 0))
	if found, _ := e.lookup(d1, "c"); found.ID() != n.ID() || e.exists(e.root, "b") {
		e.Error("a renamed file is another")
	}
	e.file(e.root, "over", "old")
	e.must(d1.Rename("c", e.root, "over", 0))
	if got := e.at(e.root, "over"); got != "A" {
		e.Errorf("over another: %q", got)
	}
	// Folders: with what is below, over an empty one, and with what is open below.
	deep, _ := e.lookup(sub, "deep")
	f := e.open(deep, posix.O_RDWR)
	e.must(d1.Rename("sub", d2, "moved", 0))
	e.must(e.root.Rename("d2", e.root, "d1", 0))
	e.write(f, "E", 1)
	if got := e.at(sub, "deep"); got != "DE" {
		e.Errorf("below a moved folder: %q", got)
	}
	e.file(sub, "new", "")
	if !e.exists(sub, "new") {
		e.Error("a moved folder cannot be used")
	}
	moved, _ := e.lookup(d2, "moved")
	if moved.ID() != sub.ID() {
		e.Error("a moved folder is another")
	}
	// Two names of one file: nothing is to be done.
	_, err := e.root.Link("over2", n)
	e.must(err)
	e.must(e.root.Rename("over", e.root, "over2", 0))
	if !e.exists(e.root, "over") || !e.exists(e.root, "over2") {
		e.Error("rename of a file over itself took a name away")
	}
	link, _, err := e.root.Symlink("l", "over", owner)
	e.must(err)
	e.keep(link)
	e.must(e.root.Rename("l", e.root, "over", 0))
	if _, a := e.lookup(e.root, "over"); a.Mode&posix.S_IFMT != posix.S_IFLNK {
		e.Error("a symbolic link was followed by rename")
	}
}

func testRenameErrors(e *env) {
	e.file(e.root, "file", "")
	dir := e.mkdir(e.root, "dir")
	sub := e.mkdir(dir, "sub")
	e.mkdir(e.root, "empty")
	for _, c := range []struct {
		name, from string
		to         share.Node
		newName    string
		flags      uint32
		want       []posix.Errno
	}{
		{"nothing", "none", e.root, "x", 0, []posix.Errno{posix.ENOENT}},
		{"file over folder", "file", e.root, "empty", 0, []posix.Errno{posix.EISDIR}},
		{"folder over file", "empty", e.root, "file", 0, []posix.Errno{posix.ENOTDIR}},
		{"over a full folder", "empty", e.root, "dir", 0, []posix.Errno{posix.ENOTEMPTY, posix.EEXIST}},
		{"into itself", "dir", dir, "x", 0, []posix.Errno{posix.EINVAL}},
		{"into its child", "dir", sub, "x", 0, []posix.Errno{posix.EINVAL}},
		{"over what is there", "file", e.root, "empty", posix.RENAME_NOREPLACE, []posix.Errno{posix.EEXIST}},
		{"whiteout", "file", e.root, "x", posix.RENAME_WHITEOUT, []posix.Errno{posix.EINVAL}},
		{"unknown flags", "file", e.root, "x", 1 << 10, []posix.Errno{posix.EINVAL}},
		{"two flags", "file", e.root, "empty", posix.RENAME_NOREPLACE | posix.RENAME_EXCHANGE, []posix.Errno{posix.EINVAL}},
	} {
		e.fails(c.name, e.root.Rename(c.from, c.to, c.newName, c.flags), c.want...)
	}
	e.must(e.root.Rename("file", e.root, "free", posix.RENAME_NOREPLACE))
	if e.exists(e.root, "file") || !e.exists(e.root, "free") || !e.exists(dir, "sub") {
		e.Error("a rename that failed did something")
	}
}

func testRenameOpen(e *env) {
	old := e.file(e.root, "config", "old")
	f := e.open(old, posix.O_RDWR)
	e.file(e.root, "config.new", "new")
	e.must(e.root.Rename("config.new", e.root, "config", 0))
	if got := e.at(e.root, "config"); got != "new" {
		e.Errorf("name has %q", got)
	}
	e.write(f, "er", 3)
	if got := e.content(old); got != "older" {
		e.Errorf("replaced file has %q", got)
	}
	if a := e.attr(old); a.Nlink != 0 {
		e.Errorf("replaced file has %d links", a.Nlink)
	}
}

func testExchange(e *env) {
	a := e.file(e.root, "a", "A")
	b := e.mkdir(e.root, "b")
	err := e.root.Rename("a", e.root, "b", posix.RENAME_EXCHANGE)
	if e.lacks(Exchange) {
		e.fails("exchange", err, posix.EINVAL)
		return
	}
	e.must(err)
	na, _ := e.lookup(e.root, "a")
	nb, _ := e.lookup(e.root, "b")
	if na.ID() != b.ID() || nb.ID() != a.ID() {
		e.Error("names were not exchanged")
	}
	e.fails("exchange with nothing", e.root.Rename("a", e.root, "none", posix.RENAME_EXCHANGE), posix.ENOENT)
}

func testNames(e *env) {
	names := []string{
		"\xff\xfe", "caf\u00e9", "cafe\u0301", "a\xc3", " ", "a ", ".a", "...", "a.", "con", "NUL", "aux.txt", "lpt1",
		`back\slash`, "colon:stream", "q?*<>|\"", "\x01\x1f\n\t", "upper", "UPPER", "Upper", "\U0001F600", "\uf03a", "\xed\xa0\x80",
		strings.Repeat("n", 255), strings.Repeat("\u20ac", 85), strings.Repeat("\xff", 255),
	}
	ids := map[share.FileID]string{}
	for _, name := range names {
		n := e.file(e.root, name, name)
		if other, twice := ids[n.ID()]; twice {
			e.Errorf("%q and %q are one file", name, other)
		}
		ids[n.ID()] = name
	}
	list := e.list(e.root)
	if len(list) != len(names) {
		e.Errorf("%d names are listed, want %d", len(list), len(names))
	}
	for _, name := range names {
		if _, ok := list[name]; !ok {
			e.Errorf("%q is not listed", name)
		}
		if got := e.at(e.root, name); got != name {
			e.Errorf("%q has %q", name, got)
		}
		e.must(e.root.Rename(name, e.root, "moved", 0))
		e.must(e.root.Rename("moved", e.root, name, 0))
		e.must(e.root.Unlink(name))
	}
	if list := e.list(e.root); len(list) != 0 {
		e.Errorf("left: %v", list)
	}
}

func testIdentity(e *env) {
	n := e.file(e.root, "a", "")
	id, ino := n.ID(), e.attr(n).Ino
	f := e.open(n, posix.O_RDWR)
	e.write(f, "x", 0)
	e.set(n, share.SetAttr{Fields: share.SetMode, Mode: 0o600})
	e.must(e.root.Rename("a", e.root, "b", 0))
	again, a := e.lookup(e.root, "b")
	if again.ID() != id || a.Ino != ino || f.ID() != id || ino == 0 {
		e.Errorf("was %v %d, is %v %d", id, ino, again.ID(), a.Ino)
	}
	if entry := e.list(e.root)["b"]; entry.Ino != ino {
		e.Errorf("listed as %d, is %d", entry.Ino, ino)
	}
	inos := map[uint64]bool{}
	for i := range 50 {
		n := e.file(e.root, fmt.Sprint(i), "")
		if ino := e.attr(n).Ino; inos[ino] {
			e.Errorf("inode number %d came twice", ino)
		} else {
			inos[ino] = true
		}
	}
}

// testCreateRace: of many that make one name exclusively, one succeeds, and all who open
// it otherwise have the same file.
func testCreateRace(e *env) {
	for round := range 20 {
		name := fmt.Sprint(round)
		var mu sync.Mutex
		made, ids := 0, map[share.FileID]bool{}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				flags := uint32(posix.O_RDWR)
				if i%2 == 0 {
					flags |= posix.O_EXCL
				}
				n, f, _, err := e.root.Create(name, flags, share.New{Mode: posix.S_IFREG | 0o644, Owner: owner})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					if i%2 == 0 {
						made++
					}
					ids[n.ID()] = true
					if err := f.Close(); err != nil {
						e.Error(err)
					}
					n.Release()
				case i%2 != 0 || posix.FromError(err) != posix.EEXIST:
					e.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		if made > 1 || len(ids) != 1 {
			e.Fatalf("%d made one name, %d files", made, len(ids))
		}
	}
}

// testNamesRace: names that come and go under each other's feet give the errnos of that
// and nothing else, and all is as it should be when it ends.
func testNamesRace(e *env) {
	d := e.mkdir(e.root, "d")
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 60 {
				name := fmt.Sprint(i % 5)
				var err error
				switch (g + i) % 6 {
				case 0, 1:
					var n share.Node
					var f share.File
					if n, f, _, err = d.Create(name, posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o644}); err == nil {
						_, err = f.WriteAt([]byte("x"), 0, false)
						n.Release()
						if cerr := f.Close(); cerr != nil {
							e.Error(cerr)
						}
					}
				case 2:
					err = d.Rename(name, d, fmt.Sprint((i+1)%5), 0)
				case 3:
					err = d.Unlink(name)
				case 4:
					var n share.Node
					if n, _, err = d.Lookup(name); err == nil {
						_, err = n.Attr()
						n.Release()
					}
				case 5:
					var dir share.Dir
					if dir, err = d.OpenDir(); err == nil {
						_, err = dir.Read(0, 100)
						if cerr := dir.Close(); cerr != nil {
							e.Error(cerr)
						}
					}
				}
				if err != nil && posix.FromError(err) != posix.ENOENT {
					e.Errorf("step %d of %d: %v", i, g, err)
				}
			}
		})
	}
	wg.Wait()
	for name := range e.list(d) {
		e.must(d.Unlink(name))
	}
	e.must(e.root.Rmdir("d"))
}
