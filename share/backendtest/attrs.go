package backendtest

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testChmod(e *env) {
	for _, n := range []share.Node{e.file(e.root, "f", ""), e.mkdir(e.root, "d")} {
		typ := e.attr(n).Mode & posix.S_IFMT
		for _, mode := range []uint32{0, 0o777, 0o7777, 0o4711, 0o2755, 0o1000, 0o644} {
			a := e.set(n, share.SetAttr{Fields: share.SetMode, Mode: mode})
			if a.Mode != typ|mode || a != e.attr(n) {
				e.Errorf("chmod %o: %o, then %+v", mode, a.Mode, e.attr(n))
			}
			if a.UID != owner.UID || a.GID != owner.GID {
				e.Errorf("chmod %o: owner %d:%d", mode, a.UID, a.GID)
			}
		}
	}
	before := e.attr(e.root)
	if a := e.set(e.root, share.SetAttr{}); a.Mode != before.Mode || a.UID != before.UID {
		e.Errorf("no change: %+v, was %+v", a, before)
	}
}

func testChown(e *env) {
	n := e.file(e.root, "f", "")
	for _, c := range []struct {
		name     string
		before   uint32
		set      share.SetAttr
		mode     uint32
		uid, gid uint32
	}{
		{"uid", 0o6755, share.SetAttr{Fields: share.SetUID, UID: 5}, 0o755, 5, owner.GID},
		{"gid", 0o6755, share.SetAttr{Fields: share.SetGID, GID: 6}, 0o755, owner.UID, 6},
		{"both", 0o4755, share.SetAttr{Fields: share.SetUID | share.SetGID, UID: 5, GID: 6}, 0o755, 5, 6},
		{"mandatory-lock", 0o2745, share.SetAttr{Fields: share.SetUID, UID: 5}, 0o2745, 5, owner.GID},
		{"with-mode", 0o755, share.SetAttr{Fields: share.SetUID | share.SetMode, UID: 5, Mode: 0o6711}, 0o6711, 5, owner.GID},
		{"large", 0o644, share.SetAttr{Fields: share.SetUID | share.SetGID, UID: 1<<32 - 2, GID: 1<<32 - 2}, 0o644, 1<<32 - 2, 1<<32 - 2},
	} {
		e.set(n, share.SetAttr{Fields: share.SetUID | share.SetGID | share.SetMode, UID: owner.UID, GID: owner.GID, Mode: c.before})
		a := e.set(n, c.set)
		if a.Mode != posix.S_IFREG|c.mode || a.UID != c.uid || a.GID != c.gid {
			e.Errorf("%s: %o %d:%d, want %o %d:%d", c.name, a.Mode, a.UID, a.GID, c.mode, c.uid, c.gid)
		}
	}
	dir := e.mkdir(e.root, "d")
	e.set(dir, share.SetAttr{Fields: share.SetMode, Mode: 0o2775})
	if a := e.set(dir, share.SetAttr{Fields: share.SetUID, UID: 5}); a.Mode != posix.S_IFDIR|0o2775 || a.UID != 5 {
		e.Errorf("folder: %o %d", a.Mode, a.UID)
	}
}

func testTruncate(e *env) {
	n := e.file(e.root, "f", "0123456789")
	if a := e.set(n, share.SetAttr{Fields: share.SetSize, Size: 4}); a.Size != 4 || e.content(n) != "0123" {
		e.Errorf("shorter: %d, %q", a.Size, e.content(n))
	}
	if a := e.set(n, share.SetAttr{Fields: share.SetSize, Size: 6}); a.Size != 6 || e.content(n) != "0123\x00\x00" {
		e.Errorf("longer: %d, %q", a.Size, e.content(n))
	}
	if !e.lacks(Holes) {
		a := e.set(n, share.SetAttr{Fields: share.SetSize, Size: 1 << 30})
		if a.Size != 1<<30 || a.Blocks > 1<<11 {
			e.Errorf("sparse: size %d, %d blocks", a.Size, a.Blocks)
		}
	}
	e.set(n, share.SetAttr{Fields: share.SetMode, Mode: 0})
	e.set(n, share.SetAttr{Fields: share.SetSize, Size: 1})
	if got := e.content(n); got != "0" {
		e.Errorf("without permissions: %q", got)
	}
	_, err := n.SetAttr(share.SetAttr{Fields: share.SetSize, Size: 1 << 63})
	e.fails("too large", err, posix.EFBIG, posix.EINVAL)
	_, err = e.root.SetAttr(share.SetAttr{Fields: share.SetSize})
	e.fails("a folder", err, posix.EISDIR)
	if link, _, err := e.root.Symlink("l", "f", owner); err != nil {
		e.Error(err)
	} else {
		_, err = e.keep(link).SetAttr(share.SetAttr{Fields: share.SetSize})
		e.fails("a symbolic link", err, posix.EINVAL)
	}
}

func testTimes(e *env) {
	gran := e.b.Features().TimeGran
	for _, n := range []share.Node{e.file(e.root, "f", ""), e.mkdir(e.root, "d")} {
		at := share.Time{Sec: 1234567890, Nsec: 987654321 / gran * gran}
		mt := share.Time{Sec: 100, Nsec: 1000}
		before := e.attr(n)
		a := e.set(n, share.SetAttr{Fields: share.SetAtime | share.SetMtime, Atime: at, Mtime: mt})
		if !e.lacks(Atime) && a.Atime != at || a.Mtime != mt {
			e.Errorf("times %v %v, want %v %v", a.Atime, a.Mtime, at, mt)
		}
		if earlier(a.Ctime, before.Ctime) {
			e.Errorf("change time went back from %v to %v", before.Ctime, a.Ctime)
		}
		a = e.set(n, share.SetAttr{Fields: share.SetMtimeNow | share.SetMtime, Mtime: mt})
		if earlier(a.Mtime, before.Mtime) || !e.lacks(Atime) && a.Atime != at {
			e.Errorf("now: %v %v", a.Atime, a.Mtime)
		}
		e.set(n, share.SetAttr{Fields: share.SetAtimeNow | share.SetMtimeNow})
		if a := e.attr(n); !e.lacks(Atime) && earlier(a.Atime, before.Mtime) {
			e.Errorf("now: %v", a.Atime)
		}
	}
	n := e.file(e.root, "g", "")
	f := e.open(n, posix.O_RDWR)
	e.set(n, share.SetAttr{Fields: share.SetMtime, Mtime: share.Time{Sec: 5}})
	if a := e.attr(n); a.Mtime.Sec != 5 {
		e.Errorf("times of an open file: %v", a.Mtime)
	}
	e.write(f, "x", 0)
	if a := e.attr(n); a.Mtime.Sec == 5 {
		e.Error("a write does not move the time")
	}
}

func earlier(a, b share.Time) bool { return a.Sec < b.Sec || a.Sec == b.Sec && a.Nsec < b.Nsec }

func testKill(e *env) {
	for _, c := range []struct {
		name         string
		before, want uint32
		run          func(n share.Node)
	}{
		{"write", 0o6755, 0o755, func(n share.Node) { e.killWrite(n, true) }},
		{"write-no-group-exec", 0o6745, 0o2745, func(n share.Node) { e.killWrite(n, true) }},
		{"write-plain", 0o644, 0o644, func(n share.Node) { e.killWrite(n, true) }},
		{"write-keeps", 0o6755, 0o6755, func(n share.Node) { e.killWrite(n, false) }},
		{"truncate", 0o6755, 0o755, func(n share.Node) {
			e.set(n, share.SetAttr{Fields: share.SetSize | share.KillSUIDGID, Size: 1})
		}},
		{"alone", 0o4711, 0o711, func(n share.Node) { e.set(n, share.SetAttr{Fields: share.KillSUIDGID}) }},
	} {
		n := e.file(e.root, c.name, "content")
		e.set(n, share.SetAttr{Fields: share.SetMode, Mode: c.before})
		c.run(n)
		if a := e.attr(n); a.Mode != posix.S_IFREG|c.want {
			e.Errorf("%s: %o, want %o", c.name, a.Mode&posix.ModeMask, c.want)
		}
	}
}

func (e *env) killWrite(n share.Node, kill bool) {
	e.Helper()
	f := e.open(n, posix.O_RDWR)
	if _, err := f.WriteAt([]byte("x"), 0, kill); err != nil {
		e.Error(err)
	}
}

func testChange(e *env) {
	n := e.file(e.root, "f", "")
	f := e.open(n, posix.O_RDWR)
	last := e.attr(n).Change
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"write", func() { e.write(f, "abc", 0) }},
		{"chmod", func() { e.set(n, share.SetAttr{Fields: share.SetMode, Mode: 0o600}) }},
		{"size", func() { e.set(n, share.SetAttr{Fields: share.SetSize, Size: 1}) }},
		{"times", func() { e.set(n, share.SetAttr{Fields: share.SetMtime, Mtime: share.Time{Sec: 7}}) }},
		{"link", func() {
			_, err := e.root.Link("g", n)
			e.must(err)
		}},
	} {
		tick(e)
		c.do()
		now := e.attr(n).Change
		if now == last {
			e.Errorf("%s does not move Change", c.name)
		}
		last = now
	}
}

// tick waits until the host's clock for times has moved: some are no finer than the
// kernel's tick.
func tick(e *env) {
	e.Helper()
	n, f, _, err := e.root.Create("tick", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o600})
	e.must(err)
	defer n.Release()
	e.must(f.Close())
	was := e.set(n, share.SetAttr{Fields: share.SetMtimeNow}).Mtime
	for e.set(n, share.SetAttr{Fields: share.SetMtimeNow}).Mtime == was {
	}
	e.must(e.root.Unlink("tick"))
}

func testStatFS(e *env) {
	for _, n := range []share.Node{e.root, e.file(e.root, "f", "")} {
		s, err := n.StatFS()
		e.must(err)
		if s.Blocks == 0 || s.FragmentSize == 0 || s.NameLen != 255 || s.Free > s.Blocks || s.Available > s.Blocks {
			e.Errorf("StatFS = %+v", s)
		}
	}
}
