package ntfs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

func TestCreateIsAtomicWithMetadata(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "hello")
	a := f.attr(n)
	if a.Mode != posix.S_IFREG|0o644 || a.UID != 7 || a.GID != 8 || a.Size != 5 || a.Nlink != 1 {
		t.Errorf("attributes %+v", a)
	}
	want := "\\ dir case handles=1\n\\a 5 $LXGID=08000000 $LXMOD=a4810000 $LXUID=07000000\n"
	if d := cmp.Diff(want, f.vol.String()); d != "" {
		t.Error(d)
	}
	_, _, _, err := f.dir.Create("a", posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o600})
	f.wants(err, posix.EEXIST)
	again, file, a, err := f.dir.Create("a", posix.O_RDWR|posix.O_TRUNC, share.New{Mode: 0o600})
	f.ok(err)
	defer again.Release()
	f.ok(file.Close())
	if a.Size != 0 || a.Mode&0o777 != 0o644 {
		t.Errorf("a create that found the file: %+v", a)
	}
}

func TestHostFilesHaveDefaults(t *testing.T) {
	vol := ntfake.New(ntfake.Config{})
	b, err := New(vol.Root(), Options{UID: 1000, GID: 1001, FileMode: 0o640, DirMode: 0o750})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t, vol, b, b.Root()}
	defer func() { f.ok(b.Close()) }()
	f.hostFile("h", "x")
	_, a := f.lookup(f.dir, "h")
	if a.UID != 1000 || a.GID != 1001 || a.Mode != posix.S_IFREG|0o640 {
		t.Errorf("a file of the host: %+v", a)
	}
	if a := f.attr(f.dir); a.Mode != posix.S_IFDIR|0o750 || a.Nlink != 2 {
		t.Errorf("a folder of the host: %+v", a)
	}
}

func TestExactCaseAndAliases(t *testing.T) {
	f := newFixture(t, ntfake.Config{CaseFlag: ntapi.StatusAccessDenied})
	f.hostFile("ReadMe-long.txt", "x")
	f.lookup(f.dir, "ReadMe-long.txt")
	f.missing(f.dir, "readme-LONG.txt")
	f.missing(f.dir, "README~1.TXT")
	_, _, _, err := f.dir.Create("readme-long.txt", posix.O_RDWR, share.New{Mode: 0o644})
	f.wants(err, posix.EEXIST)
	n := f.file(f.dir, "other", "y")
	f.wants(f.dir.Rename("other", f.dir, "README-LONG.txt", 0), posix.EEXIST)
	f.wants(f.dir.Unlink("README~1.TXT"), posix.ENOENT)
	f.ok(f.dir.Rename("other", f.dir, "OTHER", 0))
	f.lookup(f.dir, "OTHER")
	f.missing(f.dir, "other")
	if got := f.content(f.dir, "ReadMe-long.txt"); got != "x" {
		t.Errorf("the other case's content is %q", got)
	}
	_ = n
}

func TestCaseFlagOnNewAndOldFolders(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	f.file(d, "x", "1")
	f.file(d, "X", "2")
	f.ok(d.Unlink("x"))
	if got := f.content(d, "X"); got != "2" {
		t.Errorf("X has %q", got)
	}
	f.missing(d, "x")
}

func TestSpecialFilesKeepTypeAndDevice(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	for name, kind := range map[string]uint32{"fifo": posix.S_IFIFO, "sock": posix.S_IFSOCK, "chr": posix.S_IFCHR, "blk": posix.S_IFBLK, "reg": posix.S_IFREG} {
		dev := uint32(0)
		if kind == posix.S_IFCHR || kind == posix.S_IFBLK {
			dev = posix.Makedev(300, 70000)
		}
		n, _, err := f.dir.Mknod(name, share.New{Mode: kind | 0o4620, Rdev: dev})
		f.ok(err)
		n.Release()
		n, a := f.lookup(f.dir, name)
		if a.Mode != kind|0o4620 || a.Rdev != dev {
			t.Errorf("%s: %+v", name, a)
		}
		if kind != posix.S_IFREG {
			_, err = n.Open(posix.O_RDONLY)
			f.wants(err, posix.ENXIO)
		}
	}
	f.mkdir(f.dir, "d")
	d, _ := f.lookup(f.dir, "d")
	_, err := d.Open(posix.O_RDONLY)
	f.wants(err, posix.EISDIR)
}

func TestSymlinkIsOpaque(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	const target = "../\xff/a\\b"
	n, a, err := f.dir.Symlink("l", target, share.Owner{UID: 3})
	f.ok(err)
	defer n.Release()
	if a.Mode != posix.S_IFLNK|0o777 || a.Size != uint64(len(target)) || a.UID != 3 {
		t.Errorf("attributes %+v", a)
	}
	got, err := n.Readlink()
	f.ok(err)
	if got != target {
		t.Errorf("Readlink() = %q", got)
	}
	_, err = n.SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o600})
	f.wants(err, posix.EOPNOTSUPP)
	a, err = n.SetAttr(share.SetAttr{Fields: share.SetUID | share.SetMtime, UID: 9, Mtime: share.Time{Sec: 5, Nsec: 600}})
	f.ok(err)
	if a.UID != 9 || a.Mtime != (share.Time{Sec: 5, Nsec: 600}) {
		t.Errorf("after a change: %+v", a)
	}
	_, err = n.Open(posix.O_RDONLY)
	f.wants(err, posix.ENXIO)
}

func TestForeignLinksAreShownNeverFollowed(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	f.hostReparse("rel", 0, ntapi.Symlink(`..\sub\File`, true))
	f.hostReparse("in", 0, ntapi.Symlink(`\??\c:\SHARE\sub\x`, false))
	f.hostReparse("self", 0, ntapi.Symlink(`\??\C:\share`, false))
	f.hostReparse("out", 0, ntapi.Symlink(`\??\C:\shared\x`, false))
	f.hostReparse("junction", ntapi.OptionDirectory, ntapi.Junction(`\??\C:\share\deep\er`))
	f.hostReparse("mount", ntapi.OptionDirectory, ntapi.Junction(`\??\Volume{1}\`))
	f.hostReparse("odd", 0, ntapi.Reparse{Tag: 0xA0001234})
	f.hostReparse("dedup", 0, ntapi.Reparse{Tag: 0x80000013})
	for name, want := range map[string]string{
		"rel": "../sub/File", "in": "sub/x", "self": ".", "out": outside, "junction": "deep/er", "mount": outside,
	} {
		n, a := f.lookup(f.dir, name)
		got, err := n.Readlink()
		f.ok(err)
		if got != want || a.Mode&posix.S_IFMT != posix.S_IFLNK || a.Size != uint64(len(want)) {
			t.Errorf("%s leads to %q (%+v), want %q", name, got, a, want)
		}
		_, err = n.OpenDir()
		f.wants(err, posix.ENOTDIR)
		_, _, err = n.Lookup("x")
		f.wants(err, posix.ENOTDIR)
	}
	_, _, err := f.dir.Lookup("odd")
	f.wants(err, posix.EIO)
	n, _ := f.lookup(f.dir, "dedup")
	file, err := n.Open(posix.O_RDONLY)
	f.ok(err)
	f.ok(file.Close())
	f.wants(f.dir.Rmdir("junction"), posix.ENOTDIR)
	f.ok(f.dir.Unlink("junction"))
}

func TestUnlinkedFilesGoOn(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file := f.create(f.dir, "a", "hello")
	f.ok(f.dir.Unlink("a"))
	f.missing(f.dir, "a")
	f.file(f.dir, "a", "other")
	if a := f.attr(n); a.Nlink != 0 || a.Size != 5 {
		t.Errorf("attributes %+v", a)
	}
	a, err := n.SetAttr(share.SetAttr{Fields: share.SetMode | share.SetSize, Mode: 0o600, Size: 2})
	f.ok(err)
	if a.Mode&0o777 != 0o600 || a.Size != 2 {
		t.Errorf("after a change: %+v", a)
	}
	f.ok(n.Setxattr("user.x", []byte("v"), 0))
	second, err := n.Open(posix.O_RDWR)
	f.ok(err)
	if got := f.read(second, 9); got != "he" {
		t.Errorf("read %q", got)
	}
	_, err = f.dir.Link("b", n)
	f.wants(err, posix.ENOENT)
	f.ok(second.Close())
	f.ok(file.Close())
}

func TestUnlinkedNodeWithoutFileGoesOn(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "hello")
	f.ok(f.dir.Unlink("a"))
	if a := f.attr(n); a.Nlink != 0 || a.Size != 5 {
		t.Errorf("attributes %+v", a)
	}
}

func TestRemovedFolder(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	f.file(d, "x", "")
	f.wants(f.dir.Rmdir("d"), posix.ENOTEMPTY)
	f.wants(f.dir.Unlink("d"), posix.EISDIR)
	f.ok(d.Unlink("x"))
	open, err := d.OpenDir()
	f.ok(err)
	f.ok(f.dir.Rmdir("d"))
	_, _, err = d.Mkdir("e", share.New{Mode: 0o755})
	f.wants(err, posix.ENOENT)
	got, err := open.Read(0, 10)
	f.ok(err)
	if len(got) != 0 {
		t.Errorf("a removed folder has %v", got)
	}
	f.ok(open.Close())
	if a := f.attr(d); a.Nlink != 0 {
		t.Errorf("a removed folder has %d links", a.Nlink)
	}
}

func TestLinks(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "x")
	a, err := f.dir.Link("b", n)
	f.ok(err)
	if a.Nlink != 2 {
		t.Errorf("%d links", a.Nlink)
	}
	_, err = f.dir.Link("b", n)
	f.wants(err, posix.EEXIST)
	f.ok(f.dir.Rename("a", f.dir, "b", 0)) // one file: nothing happens
	if got := f.names(f.dir); !cmp.Equal(got, []string{"a", "b"}) {
		t.Errorf("names %q", got)
	}
	f.ok(f.dir.Unlink("a"))
	if a := f.attr(n); a.Nlink != 1 {
		t.Errorf("%d links", a.Nlink)
	}
	d := f.mkdir(f.dir, "d")
	_, err = f.dir.Link("e", d)
	f.wants(err, posix.EPERM)
	for i := 1; i < 1024; i++ {
		_, err := f.dir.Link(strings.Repeat("n", i%200+1)+string(rune('a'+i/200)), n)
		f.ok(err)
	}
	_, err = f.dir.Link("one-more", n)
	f.wants(err, posix.EMLINK)
}

func TestFolderLinkCount(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	for i, name := range []string{"a", "b", "c"} {
		f.mkdir(d, name)
		if got := f.attr(d).Nlink; got != uint32(3+i) {
			t.Errorf("after %s: %d links", name, got)
		}
	}
	f.file(d, "file", "")
	f.ok(d.Rmdir("a"))
	if got := f.attr(d).Nlink; got != 4 {
		t.Errorf("%d links, want 4", got)
	}
}

func TestReadonlyAttributeDoesNotStopGuests(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	for _, name := range []string{"w", "u", "r"} {
		f.hostFile(name, "x")
		h := f.host(name, ntapi.OpenRequest{Access: ntapi.AccessWriteAttributes, Share: ntapi.ShareAll})
		f.ok(h.SetBasic(ntapi.Basic{Attributes: ntapi.AttributeReadonly}))
		f.ok(h.Close())
	}
	n, _ := f.lookup(f.dir, "w")
	file, err := n.Open(posix.O_WRONLY)
	f.ok(err)
	f.ok(file.Close())
	f.ok(f.dir.Unlink("u"))
	f.file(f.dir, "s", "new")
	f.ok(f.dir.Rename("s", f.dir, "r", 0))
	if got := f.content(f.dir, "r"); got != "new" {
		t.Errorf("replaced by %q", got)
	}
}

func TestSetgidFolders(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	_, err := d.SetAttr(share.SetAttr{Fields: share.SetMode | share.SetGID, Mode: 0o2775, GID: 77})
	f.ok(err)
	if a := f.attr(f.file(d, "x", "")); a.GID != 77 {
		t.Errorf("a file has group %d", a.GID)
	}
	if a := f.attr(f.mkdir(d, "e")); a.GID != 77 || a.Mode&posix.S_ISGID == 0 {
		t.Errorf("a folder has group %d, mode %o", a.GID, a.Mode)
	}
}

func TestTmpfileHasNoName(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n, file, a, err := f.dir.Tmpfile(posix.O_RDWR, share.New{Mode: 0o600})
	f.ok(err)
	if a.Nlink != 0 || a.Mode != posix.S_IFREG|0o600 {
		t.Errorf("attributes %+v", a)
	}
	if got := f.names(f.dir); len(got) != 0 {
		t.Errorf("names %q", got)
	}
	_, err = file.WriteAt([]byte("abc"), 0, false)
	f.ok(err)
	if a := f.attr(n); a.Size != 3 {
		t.Errorf("size %d", a.Size)
	}
	n.Release()
	f.ok(file.Close())
	if got := f.vol.String(); strings.Contains(got, "without a name") {
		t.Errorf("the file is still there:\n%s", got)
	}
}

func TestTmpfileGetsNameLater(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	d := f.mkdir(f.dir, "d")
	n, file, _, err := d.Tmpfile(posix.O_RDWR, share.New{Mode: 0o600})
	f.ok(err)
	defer n.Release()
	_, err = file.WriteAt([]byte("abc"), 0, false)
	f.ok(err)
	other, err := New(f.vol.Root(), Options{}) // sweeps, but not what is in use
	f.ok(err)
	a, err := d.Link("named", n)
	f.ok(err)
	if a.Nlink != 1 || a.Size != 3 {
		t.Errorf("attributes %+v", a)
	}
	f.ok(f.dir.Rename("d", f.dir, "e", 0))
	f.ok(file.Close())
	if got := f.content(d, "named"); got != "abc" {
		t.Errorf("named has %q", got)
	}
	f.ok(other.Close())
}

func TestFileAsShare(t *testing.T) {
	vol := ntfake.New(ntfake.Config{})
	f := &fixture{t: t, vol: vol}
	f.hostFile("one", "content")
	root := vol.Root()
	h, _, err := root.Open(ntapi.OpenRequest{Name: "one", Access: accessData, Share: ntapi.ShareAll, Disposition: ntapi.DispositionOpen})
	f.ok(err)
	f.ok(root.Close())
	b, err := New(h, Options{})
	f.ok(err)
	if a := f.attr(b.Root()); a.Mode != posix.S_IFREG|0o755 || a.Size != 7 {
		t.Errorf("attributes %+v", a)
	}
	file, err := b.Root().Open(posix.O_RDWR)
	f.ok(err)
	if got := f.read(file, 20); got != "content" {
		t.Errorf("read %q", got)
	}
	f.ok(file.Close())
	_, _, err = b.Root().Lookup("x")
	f.wants(err, posix.ENOTDIR)
	f.ok(b.Close())
	if n := vol.Handles(); n != 0 {
		t.Errorf("%d handles are left open", n)
	}
}

func TestListing(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	var want []string
	for i := range 250 {
		name := "n" + strings.Repeat("x", i)
		f.file(f.dir, name, "")
		want = append(want, name)
	}
	got := f.names(f.dir)
	slices.Sort(got)
	if !cmp.Equal(got, want) {
		t.Errorf("%d names", len(got))
	}
	d, err := f.dir.OpenDir()
	f.ok(err)
	some, err := d.Read(0, 10)
	f.ok(err)
	for _, e := range some[2:] {
		f.ok(f.dir.Unlink(e.Name))
	}
	rest, err := d.Read(some[9].Cookie, 1000)
	f.ok(err)
	if len(rest) != 242 {
		t.Errorf("%d names after some were removed, want 242", len(rest))
	}
	f.ok(d.Close())
}
