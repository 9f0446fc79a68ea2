package backendtest

import (
	"fmt"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testDir(e *env) {
	if list := e.list(e.root); len(list) != 0 {
		e.Errorf("an empty folder has %v", list)
	}
	for i := range 300 {
		e.file(e.root, fmt.Sprintf("file-with-a-name-%03d", i), "")
	}
	list := e.list(e.root)
	if len(list) != 300 {
		e.Errorf("%d entries, want 300", len(list))
	}
	for name := range list {
		if !e.exists(e.root, name) {
			e.Errorf("%s is listed and not there", name)
		}
	}
	_, err := e.file(e.root, "f", "").OpenDir()
	e.fails("opendir of a file", err, posix.ENOTDIR)
	d, err := e.root.OpenDir()
	e.must(err)
	// Any cookie can be gone on from, in any order, however much was asked for then.
	all, err := d.Read(0, 1000)
	e.must(err)
	for _, i := range []int{250, 3, 100, 299, 0} {
		if i+1 >= len(all) {
			e.Fatalf("Read gave %d entries", len(all))
		}
		next, err := d.Read(all[i].Cookie, 1)
		if err != nil || len(next) != 1 || next[0] != all[i+1] {
			e.Errorf("after entry %d: %v, %v, want %v", i, next, err, all[i+1])
		}
	}
	e.must(d.Close())
}

func testDirTypes(e *env) {
	want := map[string]uint32{}
	add := func(name string, typ uint32, n share.Node, err error) {
		e.Helper()
		e.must(err)
		e.keep(n)
		want[name] = typ
	}
	n, _, err := e.root.Mkdir("dir", share.New{Mode: posix.S_IFDIR | 0o755})
	add("dir", posix.DT_DIR, n, err)
	n, _, err = e.root.Symlink("link", "x", owner)
	add("link", posix.DT_LNK, n, err)
	for name, mode := range map[string]uint32{"reg": posix.S_IFREG, "fifo": posix.S_IFIFO, "sock": posix.S_IFSOCK, "chr": posix.S_IFCHR, "blk": posix.S_IFBLK} {
		n, _, err = e.root.Mknod(name, share.New{Mode: mode | 0o600, Rdev: posix.Makedev(1, 5), Owner: owner})
		add(name, mode>>12, n, err)
	}
	e.file(e.root, "full", "content")
	want["full"] = posix.DT_REG
	list := e.list(e.root)
	for name, typ := range want {
		if list[name].Type != typ {
			e.Errorf("%s has type %d, want %d", name, list[name].Type, typ)
		}
		if _, a := e.lookup(e.root, name); a.Ino != list[name].Ino {
			e.Errorf("%s is listed as %d, is %d", name, list[name].Ino, a.Ino)
		}
	}
}

func testDirRewind(e *env) {
	e.file(e.root, "a", "")
	d, err := e.root.OpenDir()
	e.must(err)
	all, err := d.Read(0, 100)
	e.must(err)
	if len(all) != 3 {
		e.Errorf("%d entries, want 3", len(all))
	}
	if rest, err := d.Read(all[len(all)-1].Cookie, 100); err != nil || len(rest) != 0 {
		e.Errorf("after the end: %v, %v", rest, err)
	}
	e.file(e.root, "b", "")
	e.must(e.root.Unlink("a"))
	all, err = d.Read(0, 100)
	e.must(err)
	names := map[string]bool{}
	for _, entry := range all {
		names[entry.Name] = true
	}
	if len(names) != 3 || !names["b"] || names["a"] {
		e.Errorf("after a rewind: %v", names)
	}
	e.must(d.Close())
}

// testDirRemove: as rm -r and postgres's rmtree do.
func testDirRemove(e *env) {
	const files = 1000
	dir := e.mkdir(e.root, "d")
	for i := range files {
		n, _, err := dir.Mknod(fmt.Sprintf("%d", i), share.New{Mode: posix.S_IFREG | 0o600})
		e.must(err)
		n.Release()
	}
	d, err := dir.OpenDir()
	e.must(err)
	seen := map[string]bool{}
	for cookie := uint64(0); ; {
		some, err := d.Read(cookie, 50)
		e.must(err)
		if len(some) == 0 {
			break
		}
		for _, entry := range some {
			cookie = entry.Cookie
			if entry.Name == "." || entry.Name == ".." {
				continue
			}
			if seen[entry.Name] {
				e.Errorf("%s came twice", entry.Name)
			}
			seen[entry.Name] = true
			e.must(dir.Unlink(entry.Name))
		}
	}
	e.must(d.Close())
	if len(seen) != files {
		e.Errorf("saw %d of %d files", len(seen), files)
	}
	e.must(e.root.Rmdir("d"))
}
