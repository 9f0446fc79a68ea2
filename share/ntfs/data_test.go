package ntfs

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

func TestAppendGoesToTheEnd(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "one")
	a, err := n.Open(posix.O_WRONLY | posix.O_APPEND)
	f.ok(err)
	b, err := n.Open(posix.O_WRONLY | posix.O_APPEND | posix.O_SYNC)
	f.ok(err)
	for _, file := range []share.File{a, b, a} {
		_, err := file.WriteAt([]byte("+"), 0, false)
		f.ok(err)
	}
	f.ok(a.Fsync(true))
	f.ok(a.Close())
	f.ok(b.Close())
	if got := f.content(f.dir, "a"); got != "one+++" {
		t.Errorf("a has %q", got)
	}
	f.wants(a.Close(), posix.EBADF)
	_, err = a.ReadAt(make([]byte, 1), 0)
	f.wants(err, posix.EBADF)
}

func TestWritesMoveTimesAtOnce(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file := f.create(f.dir, "a", "x")
	set := share.Time{Sec: 1_000_000, Nsec: 123_456_700}
	a, err := n.SetAttr(share.SetAttr{Fields: share.SetMtime | share.SetAtime, Mtime: set, Atime: set})
	f.ok(err)
	if a.Mtime != set || a.Atime != set {
		t.Errorf("times %+v", a)
	}
	if a := f.attr(n); a.Mtime != set {
		t.Errorf("times %+v", a)
	}
	_, err = file.WriteAt([]byte("y"), 0, false)
	f.ok(err)
	written := f.attr(n)
	if written.Mtime.Sec <= set.Sec || written.Change < a.Change {
		t.Errorf("a write left the time %+v", written)
	}
	_, err = n.SetAttr(share.SetAttr{Fields: share.SetMtime, Mtime: set})
	f.ok(err)
	f.ok(file.Close())
	if a := f.attr(n); a.Mtime != set {
		t.Errorf("the close changed the time: %+v", a)
	}
}

func TestTimesHoldOnAllHandles(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, one := f.create(f.dir, "a", "x")
	two, err := n.Open(posix.O_WRONLY)
	f.ok(err)
	_, err = two.WriteAt([]byte("z"), 1, false)
	f.ok(err)
	set := share.Time{Sec: 5}
	_, err = n.SetAttr(share.SetAttr{Fields: share.SetMtime, Mtime: set})
	f.ok(err)
	f.ok(one.Close())
	f.ok(two.Close())
	if a := f.attr(n); a.Mtime != set {
		t.Errorf("a handle's close changed the time: %+v", a)
	}
}

func TestSparseAndHoles(t *testing.T) {
	f := newFixture(t, ntfake.Config{Units: 4096}) // 16 MiB
	n, file := f.create(f.dir, "a", "begin")
	_, err := file.WriteAt([]byte("end"), 1<<30, false)
	f.ok(err)
	a := f.attr(n)
	if a.Size != 1<<30+3 || a.Blocks > 1000 {
		t.Errorf("attributes %+v", a)
	}
	for _, c := range []struct {
		off    uint64
		whence uint32
		want   uint64
	}{{0, posix.SEEK_DATA, 0}, {0, posix.SEEK_HOLE, 65536}, {65536, posix.SEEK_DATA, 1 << 30}, {1 << 30, posix.SEEK_HOLE, 1<<30 + 3}} {
		got, err := file.Seek(c.off, c.whence)
		f.ok(err)
		if got != c.want {
			t.Errorf("Seek(%d, %d) = %d, want %d", c.off, c.whence, got, c.want)
		}
	}
	_, err = file.Seek(1<<30+3, posix.SEEK_DATA)
	f.wants(err, posix.ENXIO)
	f.ok(file.Fallocate(posix.FALLOC_FL_PUNCH_HOLE|posix.FALLOC_FL_KEEP_SIZE, 0, 65536))
	if got := f.read(file, 5); got != "\x00\x00\x00\x00\x00" {
		t.Errorf("punched: %q", got)
	}
	if got, err := file.Seek(0, posix.SEEK_DATA); err != nil || got != 1<<30 {
		t.Errorf("after the punch: data at %d, %v", got, err)
	}
	f.ok(file.Close())
	b, err := n.SetAttr(share.SetAttr{Fields: share.SetSize, Size: 1 << 40})
	f.ok(err)
	if b.Size != 1<<40 {
		t.Errorf("size %d", b.Size)
	}
	_, err = n.SetAttr(share.SetAttr{Fields: share.SetSize, Size: 1 << 62})
	f.wants(err, posix.EFBIG)
	_, err = f.dir.SetAttr(share.SetAttr{Fields: share.SetSize})
	f.wants(err, posix.EISDIR)
}

func TestFallocate(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file := f.create(f.dir, "a", "hello")
	f.ok(file.Fallocate(posix.FALLOC_FL_KEEP_SIZE, 0, 1<<20))
	if a := f.attr(n); a.Size != 5 || a.Blocks != 2048 {
		t.Errorf("reserved: %+v", a)
	}
	f.ok(file.Fallocate(0, 0, 1<<21))
	if a := f.attr(n); a.Size != 1<<21 || a.Blocks != 4096 {
		t.Errorf("extended: %+v", a)
	}
	f.ok(file.Fallocate(posix.FALLOC_FL_ZERO_RANGE|posix.FALLOC_FL_KEEP_SIZE, 1, 3))
	if got := f.read(file, 5); got != "h\x00\x00\x00o" {
		t.Errorf("zeroed: %q", got)
	}
	f.ok(file.Fallocate(posix.FALLOC_FL_ZERO_RANGE, 1<<21, 10))
	if a := f.attr(n); a.Size != 1<<21+10 {
		t.Errorf("zeroed past the end: %+v", a)
	}
	f.wants(file.Fallocate(posix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096), posix.EOPNOTSUPP)
	f.wants(file.Fallocate(0, 0, 0), posix.EINVAL)
	f.wants(file.Fallocate(0, 1<<63, 1), posix.EFBIG)
	f.ok(file.Close())
}

func TestCopy(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	content := bytes.Repeat([]byte("0123456789"), 200_000)
	_, from := f.create(f.dir, "from", string(content))
	_, to := f.create(f.dir, "to", "")
	n, err := from.CopyTo(to, 0, 0, 1<<30)
	f.ok(err)
	if n != uint64(len(content)) || f.read(to, len(content)+1) != string(content) {
		t.Errorf("copied %d bytes", n)
	}
	_, err = from.CopyTo(from, 0, 5, 10)
	f.wants(err, posix.EINVAL)
	f.ok(from.Close())
	f.ok(to.Close())
}

func TestDiskFull(t *testing.T) {
	f := newFixture(t, ntfake.Config{Units: 64})
	n, file := f.create(f.dir, "a", "")
	done, err := file.WriteAt(make([]byte, 1<<20), 0, false)
	f.wants(err, posix.ENOSPC)
	if a := f.attr(n); a.Size != uint64(done) {
		t.Errorf("wrote %d, size %d", done, a.Size)
	}
	f.wants(file.Fallocate(0, 0, 1<<20), posix.ENOSPC)
	st, err := f.dir.StatFS()
	f.ok(err)
	if st.Blocks != 64 || st.Free > 16 || st.FragmentSize != 4096 {
		t.Errorf("figures %+v", st)
	}
	f.ok(file.Close())
	f.ok(f.dir.Unlink("a"))
	n.Release()
	f.file(f.dir, "b", "fits")
}

func TestOwnerAndContentChangesClearPrivileges(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file := f.create(f.dir, "a", "x")
	arm := func() {
		t.Helper()
		_, err := n.SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o6755})
		f.ok(err)
		f.ok(n.Setxattr(capability, []byte("cap"), 0))
	}
	for name, act := range map[string]func() error{
		"chown": func() error {
			_, err := n.SetAttr(share.SetAttr{Fields: share.SetUID, UID: 5})
			return err
		},
		"write": func() error {
			_, err := file.WriteAt([]byte("y"), 0, true)
			return err
		},
		"truncate": func() error {
			_, err := n.SetAttr(share.SetAttr{Fields: share.SetSize | share.KillSUIDGID})
			return err
		},
	} {
		arm()
		f.ok(act())
		_, err := n.Getxattr(capability)
		f.wants(err, posix.ENODATA)
		if a := f.attr(n); a.Mode&posix.ModeMask != 0o755 {
			t.Errorf("%s leaves the mode %o", name, a.Mode)
		}
	}
	f.ok(file.Close())
}

func TestHostHoldsFileToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, ntfake.Config{})
		f.hostFile("a", "x")
		n, _ := f.lookup(f.dir, "a")
		h := f.host("a", ntapi.OpenRequest{Access: ntapi.AccessReadData, Share: 0})
		start := time.Now()
		_, err := n.Open(posix.O_RDWR)
		f.wants(err, posix.EBUSY)
		if waited := time.Since(start); waited != retries*retryPause {
			t.Errorf("waited %v", waited)
		}
		f.attr(n) // needs no share of the content
		time.AfterFunc(50*time.Millisecond, func() { f.ok(h.Close()) })
		file, err := n.Open(posix.O_RDWR)
		f.ok(err)
		f.ok(file.Close())
	})
}

func TestDeletePendingOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, ntfake.Config{})
		f.hostFile("a", "x")
		h := f.host("a", ntapi.OpenRequest{Access: ntapi.AccessDelete, Share: ntapi.ShareAll})
		f.ok(h.SetDisposition(ntapi.DispositionDelete))
		f.missing(f.dir, "a")
		_, _, _, err := f.dir.Create("a", posix.O_RDWR, share.New{Mode: 0o644})
		f.wants(err, posix.EBUSY)
		time.AfterFunc(50*time.Millisecond, func() { f.ok(h.Close()) })
		f.file(f.dir, "a", "new")
	})
}

func TestRunningProgramIsBusy(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "x")
	f.ok(f.vol.SetMapped(`\a`, true))
	f.wants(f.dir.Unlink("a"), posix.EBUSY)
	f.file(f.dir, "b", "")
	f.wants(f.dir.Rename("b", f.dir, "a", 0), posix.EBUSY)
	file, err := n.Open(posix.O_RDONLY)
	f.ok(err)
	f.ok(file.Close())
}

func TestHostRemovesFileThatIsOpen(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file := f.create(f.dir, "a", "x")
	h := f.host("a", ntapi.OpenRequest{Access: ntapi.AccessDelete, Share: ntapi.ShareAll})
	f.ok(h.SetDisposition(disposeFlags))
	f.ok(h.Close())
	if a := f.attr(n); a.Nlink != 0 || a.Size != 1 {
		t.Errorf("attributes %+v", a)
	}
	f.ok(file.Close())
	_, err := n.Attr()
	f.wants(err, posix.ESTALE)
}

func TestOnlyFileSystemsWithAttributes(t *testing.T) {
	vol := ntfake.New(ntfake.Config{FileSystem: "FAT32"})
	if _, err := New(vol.Root(), Options{}); posix.FromError(err) != posix.EOPNOTSUPP {
		t.Errorf("New on FAT32: %v", err)
	}
	if n := vol.Handles(); n != 0 {
		t.Errorf("%d handles are left open", n)
	}
}

// next returns events until the wanted number is there.
func next(t *testing.T, b *Backend, n int) []share.Event {
	t.Helper()
	var all []share.Event
	for range n {
		select {
		case e := <-b.Events():
			e.Dir, e.NewDir, e.ID = share.FileID{}, share.FileID{}, share.FileID{}
			all = append(all, e)
		case <-t.Context().Done():
			t.Fatal("no more events")
		}
	}
	return all
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, ntfake.Config{})
		d := f.mkdir(f.dir, "d")
		f.mkdir(f.dir, "unwatched")
		f.ok(f.b.Watch(f.dir))
		f.ok(f.b.Watch(d))
		f.ok(f.b.Watch(d)) // what comes after is told, whatever the reader is at
		f.hostFile("a", "x")
		f.ok(f.dir.Rename("a", f.dir, "b", 0))
		f.ok(f.dir.Rename("b", d, "c", 0))
		u, _ := f.lookup(f.dir, "unwatched")
		f.ok(d.Rename("c", u, "c", 0))
		f.ok(u.Rename("c", d, "c", 0))
		_, file, _, err := f.dir.Tmpfile(posix.O_RDWR, share.New{Mode: 0o600})
		f.ok(err)
		f.ok(file.Close())
		f.ok(d.Unlink("c"))
		want := []share.Event{
			{Kind: share.EventCreate, Name: "a"},
			{Kind: share.EventModify, Name: "a"}, {Kind: share.EventModify, Name: "a"}, // size, then time
			{Kind: share.EventRename, Name: "a", NewName: "b"},
			{Kind: share.EventRename, Name: "b", NewName: "c"},
			{Kind: share.EventRemove, Name: "c"}, {Kind: share.EventCreate, Name: "c"}, {Kind: share.EventRemove, Name: "c"},
		}
		if diff := cmp.Diff(want, next(t, f.b, len(want))); diff != "" {
			t.Error(diff)
		}
		f.b.Unwatch(d)
		f.file(d, "silent", "")
		f.mkdir(f.dir, "e")
		if diff := cmp.Diff([]share.Event{{Kind: share.EventCreate, Name: "e", IsDir: true}}, next(t, f.b, 1)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWatchOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, ntfake.Config{NoShortNames: true})
		f.ok(f.b.Watch(f.dir))
		synctest.Wait()
		for i := range eventsMost + 100 {
			f.hostFile("burst", string(rune('a'+i%26)))
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		overflows := 0
		for range len(f.b.Events()) {
			if e := <-f.b.Events(); e.Kind == share.EventOverflow {
				overflows++
			}
		}
		if overflows == 0 {
			t.Error("no overflow was told")
		}
		f.mkdir(f.dir, "after")
		if got := next(t, f.b, 1); got[0].Name != "after" {
			t.Errorf("after the overflow: %+v", got)
		}
	})
}

func TestPairingOfMovesBetweenFolders(t *testing.T) {
	id, other := ntapi.FileID{Low: 1}, ntapi.FileID{Low: 2}
	var p pairing
	steps := p.pair([]ntapi.Change{
		{Action: ntapi.ActionRemoved, Name: "a", ID: id}, {Action: ntapi.ActionAdded, Name: `d\a`, ID: id},
		{Action: ntapi.ActionRemoved, Name: "b", ID: id}, {Action: ntapi.ActionAdded, Name: "c", ID: other},
		{Action: ntapi.ActionOldName, Name: "e", ID: id},
	})
	steps = append(steps, p.pair([]ntapi.Change{{Action: ntapi.ActionNewName, Name: "f", ID: id}})...)
	var got []string
	for _, s := range steps {
		line := s.Name
		if s.to != nil {
			line += " to " + s.to.Name
		}
		got = append(got, line)
	}
	if d := cmp.Diff([]string{`a to d\a`, "b", "c", "e to f"}, got); d != "" {
		t.Error(d)
	}
}
