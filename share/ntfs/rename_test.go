package ntfs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

func TestRenameOverOpenFile(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	old, open := f.create(f.dir, "b", "old")
	f.file(f.dir, "a", "new")
	f.wants(f.dir.Rename("a", f.dir, "b", posix.RENAME_NOREPLACE), posix.EEXIST)
	f.ok(f.dir.Rename("a", f.dir, "b", 0))
	if got := f.content(f.dir, "b"); got != "new" {
		t.Errorf("b has %q", got)
	}
	if got := f.read(open, 9); got != "old" {
		t.Errorf("the replaced file has %q", got)
	}
	if a := f.attr(old); a.Nlink != 0 {
		t.Errorf("the replaced file has %d links", a.Nlink)
	}
	f.ok(open.Close())
	f.missing(f.dir, "a")
	f.ok(f.dir.Rename("b", f.dir, "c", posix.RENAME_NOREPLACE))
}

func TestRenameErrors(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d, e := f.mkdir(f.dir, "d"), f.mkdir(f.dir, "e")
	sub := f.mkdir(d, "sub")
	f.file(e, "x", "")
	f.file(f.dir, "f", "")
	for _, c := range []struct {
		from string
		to   share.Node
		name string
		flag uint32
		want posix.Errno
	}{
		{"d", f.dir, "f", 0, posix.ENOTDIR}, {"f", f.dir, "d", 0, posix.EISDIR}, {"d", f.dir, "e", 0, posix.ENOTEMPTY},
		{"d", sub, "x", 0, posix.EINVAL}, {"d", d, "x", 0, posix.EINVAL}, {"none", f.dir, "x", 0, posix.ENOENT},
		{"f", f.dir, "x", posix.RENAME_WHITEOUT, posix.EINVAL}, {"f", f.dir, "x", 3, posix.EINVAL},
		{"f", f.dir, "x", posix.RENAME_EXCHANGE, posix.ENOENT}, {"d", sub, "y", posix.RENAME_EXCHANGE, posix.ENOENT},
		{"f", e, "", 0, posix.EINVAL},
	} {
		t.Run(c.from+"_"+c.name, func(t *testing.T) {
			if got := posix.FromError(f.dir.Rename(c.from, c.to, c.name, c.flag)); got != c.want {
				t.Errorf("got %s, want %s", got.Name(), c.want.Name())
			}
		})
	}
	f.ok(f.dir.Rename("d", f.dir, "d", 0))
}

func TestRenameFolderOverEmptyFolder(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d, e := f.mkdir(f.dir, "d"), f.mkdir(f.dir, "e")
	f.file(d, "x", "1")
	f.ok(f.dir.Rename("d", f.dir, "e", 0))
	if got := f.names(f.dir); !cmp.Equal(got, []string{"e"}) {
		t.Errorf("names %q", got)
	}
	if got := f.content(d, "x"); got != "1" {
		t.Errorf("x has %q", got)
	}
	if a := f.attr(e); a.Nlink != 0 {
		t.Errorf("the replaced folder has %d links", a.Nlink)
	}
}

func TestRenameFolderParksOpenFiles(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	sub := f.mkdir(d, "sub")
	_, deep := f.create(sub, "deep", "one")
	linked, other := f.create(f.dir, "other", "two")
	_, err := sub.Link("linked", linked)
	f.ok(err)
	_, gone := f.create(sub, "gone", "three")
	f.ok(sub.Unlink("gone"))
	list, err := sub.OpenDir()
	f.ok(err)
	f.ok(f.dir.Rename("d", f.dir, "renamed", 0))
	for _, c := range []struct {
		file share.File
		want string
	}{{deep, "one"}, {other, "two"}, {gone, "three"}} {
		if got := f.read(c.file, 9); got != c.want {
			t.Errorf("after the rename: %q, want %q", got, c.want)
		}
		_, err := c.file.WriteAt([]byte("X"), 0, false)
		f.ok(err)
		f.ok(c.file.Close())
	}
	if entries, err := list.Read(0, 99); err != nil || len(entries) != 4 {
		t.Errorf("the open folder has %v, %v", entries, err)
	}
	f.ok(list.Close())
	if got := f.content(sub, "deep"); got != "Xne" {
		t.Errorf("deep has %q", got)
	}
}

func TestRenameFolderInUseByTheHost(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	_, file := f.create(d, "x", "1")
	h := f.host("d", ntapi.OpenRequest{Access: ntapi.AccessReadData, Share: ntapi.ShareAll})
	x, _, err := h.Open(ntapi.OpenRequest{Name: "x", Access: ntapi.AccessReadData, Share: ntapi.ShareAll, Disposition: ntapi.DispositionOpen})
	f.ok(err)
	f.wants(f.dir.Rename("d", f.dir, "e", 0), posix.EBUSY)
	if got := f.read(file, 9); got != "1" {
		t.Errorf("the parked file has %q", got)
	}
	f.ok(x.Close())
	f.ok(h.Close())
	f.ok(f.dir.Rename("d", f.dir, "e", 0))
	f.ok(file.Close())
}

func TestExchange(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	_, open := f.create(d, "x", "in d")
	e := f.mkdir(f.dir, "e")
	f.file(e, "f", "file")
	f.ok(f.dir.Rename("d", e, "f", posix.RENAME_EXCHANGE))
	if got := f.content(f.dir, "d"); got != "file" {
		t.Errorf("d has %q", got)
	}
	moved, a := f.lookup(e, "f")
	if a.Mode&posix.S_IFMT != posix.S_IFDIR || f.content(moved, "x") != "in d" {
		t.Errorf("e/f is %+v", a)
	}
	if got := f.read(open, 9); got != "in d" {
		t.Errorf("the open file has %q", got)
	}
	f.ok(open.Close())
	f.wants(f.dir.Rename("e", e, "f", posix.RENAME_EXCHANGE), posix.EINVAL)
}

// TestFailAtEveryStep: whatever call of the volume fails, a change is done whole, or the
// volume is as before.
func TestFailAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(f *fixture) error
	}{
		{"create", func(f *fixture) error {
			n, file, _, err := f.dir.Create("new", posix.O_RDWR, share.New{Mode: 0o644})
			if err != nil {
				return err
			}
			n.Release()
			return file.Close()
		}},
		{"mkdir", func(f *fixture) error {
			n, _, err := f.dir.Mkdir("new", share.New{Mode: 0o755})
			if err == nil {
				n.Release()
			}
			return err
		}},
		{"symlink", func(f *fixture) error {
			n, _, err := f.dir.Symlink("new", "target", share.Owner{})
			if err == nil {
				n.Release()
			}
			return err
		}},
		{"tmpfile", func(f *fixture) error {
			n, file, _, err := f.dir.Tmpfile(posix.O_RDWR, share.New{Mode: 0o644})
			if err != nil {
				return err
			}
			n.Release()
			return file.Close()
		}},
		{"unlink", func(f *fixture) error { return f.dir.Unlink("a") }},
		{"rename", func(f *fixture) error { return f.dir.Rename("a", f.dir, "new", 0) }},
		{"replace", func(f *fixture) error { return f.dir.Rename("a", f.dir, "b", 0) }},
		{"exchange", func(f *fixture) error { return f.dir.Rename("a", f.dir, "d", posix.RENAME_EXCHANGE) }},
		{"rename_folder", func(f *fixture) error { return f.dir.Rename("d", f.dir, "new", 0) }},
		{"replace_folder", func(f *fixture) error { return f.dir.Rename("d", f.dir, "empty", 0) }},
	} {
		t.Run(c.name, func(t *testing.T) { failAtEveryStep(t, c.run) })
	}
}

func failAtEveryStep(t *testing.T, run func(f *fixture) error) {
	for step := 1; ; step++ {
		f := newFixture(t, ntfake.Config{})
		f.file(f.dir, "a", "content of a")
		f.file(f.dir, "b", "b")
		f.mkdir(f.dir, "empty")
		d := f.mkdir(f.dir, "d")
		_, below := f.create(d, "x", "below")
		before := plain(f.vol)
		reached := false
		f.vol.SetHook(func(c ntfake.Call) ntapi.Status {
			if c.N == step {
				reached = true
				return ntapi.StatusIODeviceError
			}
			return ntapi.StatusSuccess
		})
		err := run(f)
		f.vol.SetHook(nil)
		// The next server sweeps what this one could not remove.
		again, openErr := New(f.vol.Root(), Options{})
		f.ok(openErr)
		f.ok(again.Close())
		after := plain(f.vol)
		if got := f.read(below, 9); got != "below" {
			t.Errorf("step %d: the file below has %q", step, got)
		}
		f.ok(below.Close())
		if strings.Contains(after, "porthole-") {
			t.Errorf("step %d leaves a hidden name:\n%s", step, after)
		}
		if err != nil && after != before {
			t.Errorf("step %d: %v, yet: %s", step, err, cmp.Diff(before, after))
		}
		if !reached {
			f.ok(err)
			return
		}
		if step > 200 {
			t.Fatal("no end of steps")
		}
	}
}

// plain prints a volume without its handles and case flags, which are no part of what an
// operation must leave.
func plain(v *ntfake.Volume) string {
	var b strings.Builder
	for line := range strings.Lines(v.String()) {
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " handles=")
		fmt.Fprintln(&b, strings.TrimSuffix(line, " case"))
	}
	return b.String()
}
