package hostfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestManyNodes: more nodes than the process may have descriptors, and all are alive.
func TestManyNodes(t *testing.T) {
	dir := mountTmpfs(t, "size=64m")
	const nodes = 30000
	for i := range nodes {
		if err := unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	fs := open(t, dir, Options{Pool: NewPool(2000)})
	before := descriptors(t)
	var all []share.Node
	for i := range nodes {
		n, _, err := fs.Root().Lookup(fmt.Sprint(i))
		if err != nil {
			t.Fatalf("lookup %d: %v", i, err)
		}
		all = append(all, n)
	}
	if more := descriptors(t) - before; more > 2000 {
		t.Errorf("%d nodes have %d descriptors", nodes, more)
	}
	begin := time.Now()
	for i, n := range all {
		a, err := n.Attr()
		if err != nil || a.ID != n.ID() {
			t.Fatalf("node %d: %+v, %v", i, a, err)
		}
	}
	t.Logf("opening again and stat: %v each", time.Since(begin)/nodes)
	// Its name goes while it has no descriptor: it goes on.
	if err := fs.Root().Unlink("0"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Root().Rename("2", fs.Root(), "1", 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range all[3:] {
		n.Release()
	}
	for i, n := range all[:2] {
		if a, err := n.Attr(); err != nil || a.Nlink != 0 {
			t.Errorf("node %d without a name: %+v, %v", i, a, err)
		}
		if _, err := n.SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o640}); err != nil {
			t.Errorf("node %d without a name: %v", i, err)
		}
		n.Release()
	}
	all[2].Release()
	if left := descriptors(t) - before; left > 0 {
		t.Errorf("%d descriptors are left", left)
	}
}

// TestWithoutHandles: what cannot be opened again keeps its descriptor, up to the bound.
func TestWithoutHandles(t *testing.T) {
	dir := t.TempDir()
	fs := open(t, dir, Options{Pool: NewPool(5)})
	for _, m := range fs.mounts { // as on a file system that has no handles
		closeFD(m.anchor)
		m.anchor = -1
	}
	var all []share.Node
	var err error
	for i := range 10 {
		touch(t, filepath.Join(dir, fmt.Sprint(i)))
		var n share.Node
		if n, _, err = fs.Root().Lookup(fmt.Sprint(i)); err != nil {
			break
		}
		all = append(all, n)
	}
	if !errors.Is(err, posix.ENFILE) || len(all) != 5 {
		t.Errorf("%d nodes, then %v; want 5, ENFILE", len(all), err)
	}
	for _, n := range all {
		if _, err := n.Attr(); err != nil {
			t.Error(err)
		}
		n.Release()
	}
	lookup(t, fs.Root(), "0")
}

// TestNamelessAreBounded: a guest that keeps many files without names is refused more,
// before the process has no descriptors left.
func TestNamelessAreBounded(t *testing.T) {
	fs := open(t, mountTmpfs(t, "size=1m"), Options{Pool: NewPool(8)})
	var all []share.Node
	var err error
	for range 100 {
		var n share.Node
		var f share.File
		if n, f, _, err = fs.Root().Create("f", posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o600}); err != nil {
			break
		}
		all = append(all, n)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := fs.Root().Unlink("f"); err != nil {
			t.Fatal(err)
		}
	}
	if !errors.Is(err, posix.ENFILE) || len(all) > 10 {
		t.Errorf("%d files without names, then %v", len(all), err)
	}
	for _, n := range all {
		if _, err := n.Attr(); err != nil {
			t.Error(err)
		}
		n.Release()
	}
	if _, _, err := fs.Root().Lookup("f"); !errors.Is(err, posix.ENOENT) {
		t.Errorf("what was refused is there: %v", err)
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "f"))
	fs := open(t, dir, Options{Pool: NewPool(1)})
	n, _ := lookup(t, fs.Root(), "f")
	var all []interface{ Close() error }
	for i := range fewFiles {
		var err error
		var f share.File
		var d share.Dir
		if i%2 == 0 {
			f, err = n.Open(posix.O_RDONLY)
			all = append(all, f)
		} else {
			d, err = fs.Root().OpenDir()
			all = append(all, d)
		}
		if err != nil {
			t.Fatalf("open %d: %v", i, err)
		}
	}
	if _, err := n.Open(posix.O_RDONLY); !errors.Is(err, posix.ENFILE) {
		t.Errorf("open of too many: %v", err)
	}
	if _, _, _, err := fs.Root().Create("g", posix.O_RDWR, share.New{Mode: 0o600}); !errors.Is(err, posix.ENFILE) {
		t.Errorf("create of too many: %v", err)
	}
	for _, f := range all {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if fs.pool.files != 0 {
		t.Errorf("%d files are counted", fs.pool.files)
	}
}

// TestCloseFreesAll: nothing is left of an FS, whatever was held when it was closed.
func TestCloseFreesAll(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "f"))
	for _, o := range []Options{{}, {HostToContainer: true}, {Ownership: Mapped}, {RecursiveReadOnly: true, Pool: NewPool(1)}} {
		before := descriptors(t)
		fs, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := fs.Root().Lookup("f"); err != nil {
			t.Fatal(err)
		}
		if err := fs.Watch(fs.Root()); err != nil {
			t.Fatal(err)
		}
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
		for range fs.Events() {
		}
		if after := descriptors(t); after > before {
			t.Errorf("%+v: %d descriptors, then %d", o, before, after)
		}
		if fs.pool.open != 0 && o.Pool != nil {
			t.Errorf("%+v: the pool counts %d", o, fs.pool.open)
		}
	}
}
