package backendtest

import (
	"errors"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A Feature is something that not every host's file system has.
type Feature string

// Features that Options.Lacks may name.
const (
	Tmpfile        Feature = "files without a name"
	Exchange       Feature = "renames that exchange"
	CopyRange      Feature = "copies on the host"
	Holes          Feature = "holes"
	ZeroRange      Feature = "fallocate's zero range"
	UserXattr      Feature = "attributes of users"
	TrustedXattr   Feature = "trusted attributes"
	SecurityXattr  Feature = "security attributes"
	SpecialXattr   Feature = "any attributes of symbolic links"
	UnlinkedFolder Feature = "removed folders that are still used"
	Atime          Feature = "access times that can be set"
)

// Options are what a backend is tested for.
type Options struct {
	// Lacks has what the backend cannot do, with the reason.
	Lacks map[Feature]string
	// Hidden are names of extended attributes that the server keeps for itself.
	Hidden []string
}

// Run tests a backend. open returns one that serves an empty folder, which a guest may
// fill, and takes it away when the test ends.
func Run(t *testing.T, open func(*testing.T) share.Backend, o Options) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			c.run(&env{T: t, b: b, root: b.Root(), o: o})
		})
	}
}

var cases = []struct {
	name string
	run  func(*env)
}{
	{"root", testRoot},
	{"lookup", testLookup},
	{"mkdir", testMkdir},
	{"mknod", testMknod},
	{"setgid-folder", testSetgidFolder},
	{"symlink", testSymlink},
	{"link", testLink},
	{"create", testCreate},
	{"create-mode-0", testModeZero},
	{"tmpfile", testTmpfile},
	{"unlink", testUnlink},
	{"unlinked", testUnlinked},
	{"removed-folder", testRemovedFolder},
	{"rename", testRename},
	{"rename-errors", testRenameErrors},
	{"rename-open", testRenameOpen},
	{"rename-exchange", testExchange},
	{"names", testNames},
	{"identity", testIdentity},
	{"chmod", testChmod},
	{"chown", testChown},
	{"truncate", testTruncate},
	{"times", testTimes},
	{"kill-suid", testKill},
	{"change", testChange},
	{"statfs", testStatFS},
	{"open", testOpen},
	{"read-write", testReadWrite},
	{"append", testAppend},
	{"fallocate", testFallocate},
	{"seek", testSeek},
	{"copy", testCopy},
	{"fsync", testFsync},
	{"dir", testDir},
	{"dir-types", testDirTypes},
	{"dir-rewind", testDirRewind},
	{"dir-remove-while-reading", testDirRemove},
	{"xattr", testXattr},
	{"xattr-errors", testXattrErrors},
	{"xattr-kinds", testXattrKinds},
	{"create-race", testCreateRace},
	{"names-race", testNamesRace},
}

// env is what a test has: helpers that end it when they fail.
type env struct {
	*testing.T
	b    share.Backend
	root share.Node
	o    Options
}

func (e *env) lacks(f Feature) bool {
	reason, lacks := e.o.Lacks[f]
	if lacks {
		e.Logf("without %s: %s", f, reason)
	}
	return lacks
}

// must ends the test with an error.
func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// fails checks that an error is one of the errnos.
func (e *env) fails(what string, err error, want ...posix.Errno) {
	e.Helper()
	got := posix.FromError(err)
	for _, w := range want {
		if got == w {
			return
		}
	}
	e.Errorf("%s: %v, want %v", what, err, want)
}

// keep releases a node when the test ends.
func (e *env) keep(n share.Node) share.Node {
	e.Cleanup(n.Release)
	return n
}

var owner = share.Owner{UID: 1001, GID: 1002}

func (e *env) lookup(dir share.Node, name string) (share.Node, share.Attr) {
	e.Helper()
	n, a, err := dir.Lookup(name)
	e.must(err)
	return e.keep(n), a
}

// exists tells whether a folder has a name.
func (e *env) exists(dir share.Node, name string) bool {
	e.Helper()
	n, _, err := dir.Lookup(name)
	if errors.Is(err, posix.ENOENT) {
		return false
	}
	e.must(err)
	n.Release()
	return true
}

func (e *env) mkdir(dir share.Node, name string) share.Node {
	e.Helper()
	n, _, err := dir.Mkdir(name, share.New{Mode: posix.S_IFDIR | 0o755, Owner: owner})
	e.must(err)
	return e.keep(n)
}

// file makes a file with that content.
func (e *env) file(dir share.Node, name, content string) share.Node {
	e.Helper()
	n, f, _, err := dir.Create(name, posix.O_RDWR|posix.O_EXCL, share.New{Mode: posix.S_IFREG | 0o644, Owner: owner})
	e.must(err)
	e.write(f, content, 0)
	e.must(f.Close())
	return e.keep(n)
}

func (e *env) open(n share.Node, flags uint32) share.File {
	e.Helper()
	f, err := n.Open(flags)
	e.must(err)
	e.Cleanup(func() {
		if err := f.Close(); err != nil {
			e.Errorf("close: %v", err)
		}
	})
	return f
}

func (e *env) write(f share.File, content string, off int64) {
	e.Helper()
	n, err := f.WriteAt([]byte(content), off, false)
	if err != nil || n != len(content) {
		e.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(content), off, n, err)
	}
}

// content returns all of a file.
func (e *env) content(n share.Node) string {
	e.Helper()
	f, err := n.Open(posix.O_RDONLY)
	e.must(err)
	a, err := n.Attr()
	e.must(err)
	b := make([]byte, a.Size+16)
	size, err := f.ReadAt(b, 0)
	e.must(err)
	e.must(f.Close())
	return string(b[:size])
}

// at returns the content of a name.
func (e *env) at(dir share.Node, name string) string {
	e.Helper()
	n, _, err := dir.Lookup(name)
	e.must(err)
	defer n.Release()
	return e.content(n)
}

func (e *env) attr(n share.Node) share.Attr {
	e.Helper()
	a, err := n.Attr()
	e.must(err)
	return a
}

func (e *env) set(n share.Node, s share.SetAttr) share.Attr {
	e.Helper()
	a, err := n.SetAttr(s)
	e.must(err)
	return a
}

// list returns a folder's entries but "." and "..", read few at a time.
func (e *env) list(n share.Node) map[string]share.DirEntry {
	e.Helper()
	d, err := n.OpenDir()
	e.must(err)
	list := map[string]share.DirEntry{}
	for cookie := uint64(0); ; {
		some, err := d.Read(cookie, 7)
		e.must(err)
		if len(some) == 0 {
			break
		}
		if len(some) > 7 {
			e.Fatalf("Read gave %d entries, want 7 at most", len(some))
		}
		for _, entry := range some {
			if _, twice := list[entry.Name]; twice {
				e.Errorf("entry %q came twice", entry.Name)
			}
			list[entry.Name] = entry
			cookie = entry.Cookie
		}
	}
	e.must(d.Close())
	for _, name := range []string{".", ".."} {
		if list[name].Type != posix.DT_DIR {
			e.Errorf("entry %q: %+v, want a folder", name, list[name])
		}
		delete(list, name)
	}
	return list
}
