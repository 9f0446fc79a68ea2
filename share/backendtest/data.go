package backendtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testOpen(e *env) {
	n := e.file(e.root, "f", "content")
	_, err := e.root.Open(posix.O_RDONLY)
	e.fails("a folder", err, posix.EISDIR)
	r := e.open(n, posix.O_RDONLY)
	_, err = r.WriteAt([]byte("x"), 0, false)
	e.fails("write to a file open for reading", err, posix.EBADF)
	if r.ID() != n.ID() {
		e.Error("a file has another identity than its node")
	}
	for _, flags := range []uint32{posix.O_WRONLY, posix.O_RDWR, posix.O_RDWR | posix.O_SYNC, posix.O_WRONLY | posix.O_DSYNC} {
		e.write(e.open(n, flags), "C", 0)
	}
	// What the guest's kernel sees to itself must not matter.
	e.open(n, posix.O_RDWR|posix.O_DIRECT|posix.O_NOFOLLOW|posix.O_NOATIME|posix.O_NONBLOCK|posix.O_LARGEFILE|posix.O_CREAT|posix.O_EXCL|posix.FMODE_EXEC)
	if got := e.content(n); got != "Content" {
		e.Errorf("content %q", got)
	}
	e.open(n, posix.O_WRONLY|posix.O_TRUNC)
	if got := e.content(n); got != "" {
		e.Errorf("content %q after O_TRUNC", got)
	}
}

func testReadWrite(e *env) {
	n := e.file(e.root, "f", "0123456789")
	f := e.open(n, posix.O_RDWR)
	for _, c := range []struct {
		off  int64
		size int
		want string
	}{{0, 4, "0123"}, {8, 10, "89"}, {10, 5, ""}, {1000, 5, ""}, {3, 0, ""}} {
		b := make([]byte, c.size)
		got, err := f.ReadAt(b, c.off)
		if err != nil || string(b[:got]) != c.want {
			e.Errorf("ReadAt(%d, %d) = %q, %v, want %q", c.off, c.size, b[:got], err, c.want)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef-"), 1<<16)
	if wrote, err := f.WriteAt(big, 12345, false); err != nil || wrote != len(big) {
		e.Fatalf("WriteAt = %d, %v", wrote, err)
	}
	got := []byte(e.content(n))
	if len(got) != 12345+len(big) || !bytes.Equal(got[12345:], big) || !bytes.Equal(got[10:12345], make([]byte, 12335)) {
		e.Error("what was written is not what is read")
	}
	if a := e.attr(n); a.Size != uint64(len(got)) || a.Blocks == 0 {
		e.Errorf("size %d, %d blocks", a.Size, a.Blocks)
	}
}

func testAppend(e *env) {
	n := e.file(e.root, "f", "start\n")
	f := e.open(n, posix.O_WRONLY|posix.O_APPEND)
	e.write(f, "one\n", 0)
	e.set(n, share.SetAttr{Fields: share.SetSize, Size: 6})
	e.write(f, "two\n", 1000)
	if got := e.content(n); got != "start\ntwo\n" {
		e.Errorf("content %q", got)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		f := e.open(n, posix.O_WRONLY|posix.O_APPEND)
		wg.Go(func() {
			for i := range 50 {
				if _, err := f.WriteAt(fmt.Appendf(nil, "%d-%02d\n", g, i), 0, false); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if lines := strings.Count(e.content(n), "\n"); lines != 202 || e.attr(n).Size != 10+200*5 {
		e.Errorf("%d lines, %d bytes after 200 appends", lines, e.attr(n).Size)
	}
}

func testFallocate(e *env) {
	n := e.file(e.root, "f", strings.Repeat("x", 100000))
	f := e.open(n, posix.O_RDWR)
	e.must(f.Fallocate(0, 50000, 100000))
	if a := e.attr(n); a.Size != 150000 {
		e.Errorf("size %d, want 150000", a.Size)
	}
	e.must(f.Fallocate(posix.FALLOC_FL_KEEP_SIZE, 0, 300000))
	if a := e.attr(n); a.Size != 150000 {
		e.Errorf("size %d with KEEP_SIZE", a.Size)
	}
	zero := func(name string, mode uint32, off, length uint64) {
		if err := f.Fallocate(mode, off, length); err != nil {
			e.Errorf("%s: %v", name, err)
			return
		}
		got := e.content(n)
		if strings.Trim(got[off:off+length], "\x00") != "" || got[off-1] != 'x' || got[off+length] != 'x' {
			e.Errorf("%s: not the bytes that were asked for", name)
		}
	}
	if e.lacks(Holes) {
		e.fails("punch", f.Fallocate(posix.FALLOC_FL_PUNCH_HOLE|posix.FALLOC_FL_KEEP_SIZE, 10, 10), posix.EOPNOTSUPP)
	} else {
		zero("punch", posix.FALLOC_FL_PUNCH_HOLE|posix.FALLOC_FL_KEEP_SIZE, 10, 20000)
	}
	if e.lacks(ZeroRange) {
		e.fails("zero", f.Fallocate(posix.FALLOC_FL_ZERO_RANGE, 40000, 10), posix.EOPNOTSUPP)
	} else {
		zero("zero", posix.FALLOC_FL_ZERO_RANGE, 40000, 10000)
		zero("zero and keep", posix.FALLOC_FL_ZERO_RANGE|posix.FALLOC_FL_KEEP_SIZE, 60001, 3)
	}
	for _, mode := range []uint32{posix.FALLOC_FL_PUNCH_HOLE, posix.FALLOC_FL_COLLAPSE_RANGE, posix.FALLOC_FL_INSERT_RANGE, posix.FALLOC_FL_UNSHARE_RANGE, 1 << 20} {
		e.fails(fmt.Sprintf("mode %#x", mode), f.Fallocate(mode, 0, 4096), posix.EOPNOTSUPP)
	}
	e.fails("nothing", f.Fallocate(0, 0, 0), posix.EINVAL)
	e.fails("too large", f.Fallocate(0, 1<<63-1, 10), posix.EFBIG, posix.EINVAL)
	e.fails("open for reading", e.open(n, posix.O_RDONLY).Fallocate(0, 0, 10), posix.EBADF)
}

func testSeek(e *env) {
	n := e.file(e.root, "f", "")
	f := e.open(n, posix.O_RDWR)
	const mib = 1 << 20
	e.set(n, share.SetAttr{Fields: share.SetSize, Size: 4 * mib})
	e.write(f, strings.Repeat("x", mib), mib)
	for _, c := range []struct {
		off    uint64
		whence uint32
		want   uint64
	}{{0, posix.SEEK_DATA, mib}, {0, posix.SEEK_HOLE, 0}, {mib, posix.SEEK_HOLE, 2 * mib}, {mib + 5, posix.SEEK_DATA, mib + 5}, {3 * mib, posix.SEEK_HOLE, 3 * mib}} {
		got, err := f.Seek(c.off, c.whence)
		if e.lacks(Holes) {
			// All is data, and the end is a hole.
			if c.want = c.off; c.whence == posix.SEEK_HOLE {
				c.want = 4 * mib
			}
		}
		if err != nil || got != c.want {
			e.Errorf("Seek(%d, %d) = %d, %v, want %d", c.off, c.whence, got, err, c.want)
		}
	}
	_, err := f.Seek(4*mib, posix.SEEK_DATA)
	e.fails("data at the end", err, posix.ENXIO)
	_, err = f.Seek(5*mib, posix.SEEK_HOLE)
	e.fails("hole past the end", err, posix.ENXIO)
	_, err = f.Seek(1<<63, posix.SEEK_DATA)
	e.fails("data past all", err, posix.ENXIO, posix.EINVAL)
	_, err = f.Seek(0, posix.SEEK_END)
	e.fails("another whence", err, posix.EINVAL)
}

func testCopy(e *env) {
	from, to := e.file(e.root, "from", "0123456789"), e.file(e.root, "to", "abc")
	f, t := e.open(from, posix.O_RDWR), e.open(to, posix.O_RDWR)
	n, err := f.CopyTo(t, 2, 1, 5)
	if e.lacks(CopyRange) {
		e.fails("copy", err, posix.EXDEV)
		return
	}
	if err != nil || n != 5 || e.content(to) != "a23456" {
		e.Errorf("CopyTo = %d, %v; %q", n, err, e.content(to))
	}
	if n, err := f.CopyTo(t, 8, 0, 100); err != nil || n != 2 || e.content(to) != "893456" {
		e.Errorf("past the end: %d, %v; %q", n, err, e.content(to))
	}
	if n, err := f.CopyTo(t, 50, 0, 10); err != nil || n != 0 {
		e.Errorf("from past the end: %d, %v", n, err)
	}
	if n, err := f.CopyTo(f, 0, 10, 5); err != nil || n != 5 || e.content(from) != "012345678901234" {
		e.Errorf("in one file: %d, %v; %q", n, err, e.content(from))
	}
	_, err = f.CopyTo(f, 0, 2, 5)
	e.fails("overlapping", err, posix.EINVAL)
}

func testFsync(e *env) {
	n := e.file(e.root, "f", "x")
	f := e.open(n, posix.O_RDWR)
	e.write(f, "y", 1)
	for _, dataOnly := range []bool{false, true} {
		e.must(f.Fsync(dataOnly))
		d, err := e.root.OpenDir()
		e.must(err)
		if err := d.Fsync(dataOnly); err != nil {
			e.Errorf("fsync of a folder: %v", err)
		}
		e.must(d.Close())
	}
	e.must(e.open(n, posix.O_RDONLY).Fsync(false))
}
