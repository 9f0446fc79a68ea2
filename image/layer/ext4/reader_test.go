package ext4

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// memory is a file system in memory.
type memory struct{ b []byte }

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if end := int(at) + len(b); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[at:], b), nil
}

// written is the file system that a Writer makes of what was told.
func written(t testing.TB, all []told) []byte {
	t.Helper()
	var m memory
	size, err := write(&m, all)
	if err != nil {
		t.Fatal(err)
	}
	return append(m.b, make([]byte, size-int64(len(m.b)))...)
}

func find(r *Reader, name string) (*Node, error) {
	at := Root
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		n, err := r.Open(at)
		if err == nil {
			at, err = n.Lookup(part)
		}
		if err != nil {
			return nil, err
		}
	}
	return r.Open(at)
}

// readBack checks that a Reader tells what was told. Of what was told twice, the last counts.
func readBack(t testing.TB, b []byte, all []told) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Mode                   fs.FileMode
		UID, GID, Major, Minor uint32
		Data                   string
		Xattrs                 map[string]string
	}
	want, inodes := map[string]node{}, map[string]Inode{}
	for _, e := range all {
		name := path.Clean(e.Name)
		if e.Typeflag == tar.TypeLink {
			want[name] = want[path.Clean(e.Linkname)]
			continue
		}
		h := e.Header
		info := h.FileInfo().Mode()
		w := node{Mode: info, UID: uint32(e.Uid), GID: uint32(e.Gid), Data: e.data, Xattrs: map[string]string{}}
		switch e.Typeflag {
		case tar.TypeSymlink:
			w.Data, w.Mode = e.Linkname, w.Mode|0o777
		case tar.TypeChar, tar.TypeBlock:
			w.Major, w.Minor = uint32(e.Devmajor), uint32(e.Devminor)
		}
		for k, v := range e.PAXRecords {
			w.Xattrs[strings.TrimPrefix(k, "SCHILY.xattr.")] = v
		}
		want[name] = w
	}
	for name, w := range want {
		n, err := find(r, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := node{Mode: n.Mode, UID: n.UID, GID: n.GID, Major: n.Major, Minor: n.Minor}
		if got.Xattrs, err = n.Xattrs(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch {
		case n.Mode.IsRegular():
			var b []byte
			b, err = n.Content(n.Size)
			got.Data = string(b)
		case n.Mode&fs.ModeSymlink != 0:
			got.Data, err = n.Target()
		}
		if d := cmp.Diff(w, got); err != nil || d != "" {
			t.Fatalf("%s: %v (-told +read):\n%s", name, err, d)
		}
		inodes[name] = n.inode
	}
	for _, e := range all {
		if e.Typeflag == tar.TypeLink && inodes[path.Clean(e.Name)] != inodes[path.Clean(e.Linkname)] {
			t.Fatalf("%s is another file than %s", e.Name, e.Linkname)
		}
	}
	if _, err := find(r, "not/there"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a name that was not told: %v", err)
	}
}

func kinds() []told {
	long := strings.Repeat("x", 3000)
	root := folder("d/root")
	root.Mode, root.Uid, root.Gid = 0o1777, 70000, 4e9
	return []told{
		folder("d"), file("d/empty", ""), file("d/small", "abc"), file("d/block", strings.Repeat("b", BlockSize)), root,
		file("d/more", strings.Repeat("m", 5*BlockSize+1)), symlink("d/short", "t"), symlink("d/59", strings.Repeat("s", 59)),
		symlink("d/60", strings.Repeat("s", 60)), symlink("d/long", strings.Repeat("s/", 2000)),
		device(tar.TypeChar, "d/white", 0, 0), device(tar.TypeChar, "d/c", 4095, 1048575), device(tar.TypeBlock, "d/b", 259, 70000),
		device(tar.TypeFifo, "d/f", 0, 0), link("d/l", "d/small"), link("a", "d/short"), link("z", "d/c"),
		file("in", "1").xattrs("user.a", "b"), file("both", "").xattrs("user.a", long, "user.b", "1"),
		folder("e").xattrs("trusted.overlay.opaque", "y", "security.x", long, "system.posix_acl_access", "acl"),
		file("e/"+strings.Repeat("n", 255), "1"),
	}
}

func TestReader(t *testing.T) {
	var many []told
	for i := range maxInodesPerGroup + 5 {
		many = append(many, file(fmt.Sprintf("%0*d", 5+i%250, i), ""))
	}
	tests := map[string][]told{"empty": nil, "kinds": kinds(), "deep": deep(100), "many": append(many[:600], folder("d"), file("d/f", "1"))}
	for name, all := range tests {
		t.Run(name, func(t *testing.T) { readBack(t, written(t, all), all) })
	}
	t.Run("groups", func(t *testing.T) { // the folder of so many is too large to be read
		last := []told{folder("d"), file("d/f", "1")}
		for i := range maxInodesPerGroup + 5 {
			last = append(last, file(fmt.Sprintf("d/%d", i), ""))
		}
		last = append(last, folder("e"), file("e/in-the-second-group", "2"))
		readBack(t, written(t, last), append(last[:2:2], last[len(last)-2:]...))
	})
}

// TestReader_Large: files of more than one extent are read as far as their extents are in the inode.
func TestReader_Large(t *testing.T) {
	name := make1(t, func(w *Writer, names *Names) {
		for _, size := range []int64{4 * extentBlocks * BlockSize, 4*extentBlocks*BlockSize + 1} {
			if _, err := w.AddFile(Root, add(t, names, fmt.Sprint(size)), Attr{}, size); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(w, zeroReader{}, size); err != nil {
				t.Fatal(err)
			}
		}
	})
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b [BlockSize]byte
	for size, want := range map[int64]error{4 * extentBlocks * BlockSize: nil, 4*extentBlocks*BlockSize + 1: ErrFile} {
		n, err := find(r, fmt.Sprint(size))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.read(4*extentBlocks-1, b[:]); !errors.Is(err, want) {
			t.Errorf("the last block of %d bytes: %v, want %v", size, err, want)
		}
		if _, err := n.Content(1 << 20); !errors.Is(err, ErrFile) {
			t.Errorf("Content of a file larger than is wanted: %v", err)
		}
	}
}

// TestReader_Damaged: what is not as a Writer makes it is refused.
func TestReader_Damaged(t *testing.T) {
	good := written(t, kinds())
	r, err := NewReader(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	table := int64(le.Uint32(good[BlockSize+8:])) * BlockSize
	small, err := find(r, "d/small")
	if err != nil {
		t.Fatal(err)
	}
	inode := table + int64(small.inode-1)*inodeSize
	dir, err := find(r, "d")
	if err != nil {
		t.Fatal(err)
	}
	entries := int64(le.Uint32(dir.data[20:])) * BlockSize
	in, err := find(r, "in")
	if err != nil {
		t.Fatal(err)
	}
	xattrs := table + int64(in.inode-1)*inodeSize + inodeUsed
	both, err := find(r, "both")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(b []byte) []byte{
		"magic":           func(b []byte) []byte { b[1024+0x38]++; return b },
		"feature":         func(b []byte) []byte { b[1024+0x60] |= 0x80; return b }, // 64bit
		"no-blocks":       func(b []byte) []byte { le.PutUint32(b[1024+4:], 0); return b },
		"no-inodes":       func(b []byte) []byte { le.PutUint32(b[1024+0x28:], 0); return b },
		"inodes":          func(b []byte) []byte { le.PutUint32(b[1024:], 1<<31); return b },
		"table-at-0":      func(b []byte) []byte { le.PutUint32(b[BlockSize+8:], 0); return b },
		"table-far":       func(b []byte) []byte { le.PutUint32(b[BlockSize+8:], ^uint32(0)); return b },
		"short":           func(b []byte) []byte { return b[:entries] },
		"very-short":      func(b []byte) []byte { return b[:1500] },
		"kind":            func(b []byte) []byte { le.PutUint16(b[inode:], 0xf000); return b },
		"unlinked":        func(b []byte) []byte { le.PutUint16(b[inode+0x1a:], 0); return b },
		"flags":           func(b []byte) []byte { le.PutUint32(b[inode+0x20:], 0x10000000|flagHugeFile); return b }, // inline data
		"size":            func(b []byte) []byte { le.PutUint32(b[inode+0x6c:], ^uint32(0)); return b },
		"extent-magic":    func(b []byte) []byte { b[inode+0x28]++; return b },
		"extents":         func(b []byte) []byte { b[inode+0x28+2] = 5; return b },
		"no-extents":      func(b []byte) []byte { b[inode+0x28+2] = 0; return b },
		"extent-depth":    func(b []byte) []byte { b[inode+0x28+6] = 2; return b },
		"extent-at-0":     func(b []byte) []byte { le.PutUint32(b[inode+0x28+20:], 0); return b },
		"extent-far":      func(b []byte) []byte { le.PutUint32(b[inode+0x28+20:], r.blocks); return b },
		"extent-high":     func(b []byte) []byte { b[inode+0x28+18] = 1; return b },
		"extent-unwrit":   func(b []byte) []byte { le.PutUint16(b[inode+0x28+16:], 0x8001); return b },
		"entry-of-0":      func(b []byte) []byte { le.PutUint16(b[entries+4:], 0); return b },
		"entry-too-long":  func(b []byte) []byte { le.PutUint16(b[entries+4:], BlockSize+4); return b },
		"entry-odd":       func(b []byte) []byte { le.PutUint16(b[entries+4:], 13); return b },
		"name-too-long":   func(b []byte) []byte { b[entries+6] = 5; return b },
		"xattr-far":       func(b []byte) []byte { le.PutUint16(b[xattrs+4+2:], 90); le.PutUint32(b[xattrs+4+8:], 20); return b },
		"xattr-in-inode":  func(b []byte) []byte { le.PutUint32(b[xattrs+4+4:], 12); return b },
		"xattr-name":      func(b []byte) []byte { b[xattrs+4] = 255; return b },
		"xattr-index":     func(b []byte) []byte { b[xattrs+5] = 99; return b },
		"xattr-block":     func(b []byte) []byte { b[int64(both.block)*BlockSize]++; return b },
		"xattr-block-far": func(b []byte) []byte { le.PutUint32(b[table+int64(both.inode-1)*inodeSize+0x68:], r.blocks); return b },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			if err := readAll(spoil(bytes.Clone(good))); !errors.Is(err, ErrDamaged) {
				t.Errorf("all that is read: %v, want ErrDamaged", err)
			}
		})
	}
	if err := readAll(good); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

// readAll reads all of what kinds tells, and returns the first error.
func readAll(b []byte) error {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	for _, e := range kinds() {
		n, err := find(r, e.Name)
		if err != nil {
			return err
		}
		if _, err := n.Xattrs(); err != nil {
			return err
		}
		switch {
		case n.Mode.IsRegular():
			_, err = n.Content(1 << 20)
		case n.Mode&fs.ModeSymlink != 0:
			_, err = n.Target()
		case n.Mode.IsDir():
			if _, err = n.Lookup("none"); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FuzzReader writes b over a file system, at places where it tells of files, and reads all: it gives
// what it gave, or an error of a kind that is documented.
func FuzzReader(f *testing.F) {
	good := written(f, kinds())
	table := binary.LittleEndian.Uint32(good[BlockSize+8:]) * BlockSize
	f.Add(uint32(1024), []byte{1, 2, 3})
	f.Add(uint32(BlockSize), bytes.Repeat([]byte{255}, 32))
	for i := range uint32(30) {
		f.Add(table+i*inodeSize+0x20, bytes.Repeat([]byte{0, 0, 8, 255}, 20))
		f.Add((2+i)*BlockSize, bytes.Repeat([]byte{1, 0, 0, 0, 8, 0, 1}, 50))
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		b := bytes.Clone(good)
		copy(b[at%uint32(len(b)):], patch)
		if err := readAll(b); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFile) && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzReader_Back reads back trees of any shape.
func FuzzReader_Back(f *testing.F) {
	f.Add([]byte("0123456789"))
	f.Add(bytes.Repeat([]byte{5, 0, 200}, 60))
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 10}, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := tree(b)
		readBack(t, written(t, all), all)
	})
}
