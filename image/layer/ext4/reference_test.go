package ext4

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/porthole-run/porthole/internal/testneed"
)

const testMax = 16 << 30

// told is one thing that a writer is told. Both writers understand a list of them.
type told struct {
	tar.Header
	data string
}

// refer writes what was told with tar2ext4.
func refer(t testing.TB, all []told) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range all {
		h := e.Header
		h.Format = tar.FormatPAX
		h.Size = int64(len(e.data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := create(t)
	if err := tar2ext4.ConvertTarToExt4(&b, f, tar2ext4.MaximumDiskSize(testMax)); err != nil {
		t.Fatalf("tar2ext4: %v", err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	end, _ := f.Seek(0, io.SeekCurrent)
	got = append(got, make([]byte, int(end)-len(got))...)
	padBitmaps(got)
	return got
}

// padBitmaps sets the bits behind the last inode of each group, which tar2ext4 leaves
// clear though e2fsck wants them.
func padBitmaps(b []byte) {
	le := binary.LittleEndian
	inodes := le.Uint32(b[1024+0x28:])
	for g := range groupsFor(le.Uint32(b[1024+4:])) {
		bitmap := b[le.Uint32(b[BlockSize+g*descriptorSize+4:])*BlockSize:]
		for i := inodes / 8; i < BlockSize; i++ {
			bitmap[i] = 0xff
		}
	}
}

func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// write writes what was told with a Writer.
func write(out io.WriterAt, all []told) (int64, error) {
	var names Names
	w, err := NewWriter(out, &names, testMax)
	if err != nil {
		return 0, err
	}
	known := map[string]Inode{".": Root}
	for _, e := range all {
		if err := tell(w, &names, known, e); err != nil {
			return 0, fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return w.Close()
}

func tell(w *Writer, names *Names, known map[string]Inode, e told) error {
	clean := path.Clean(e.Name)
	a := Attr{Mode: uint16(e.Mode), UID: uint32(e.Uid), GID: uint32(e.Gid), Mtime: MakeTime(e.ModTime),
		Atime: MakeTime(e.AccessTime), Ctime: MakeTime(e.ChangeTime)}
	for k, v := range e.PAXRecords {
		if a.Xattrs == nil {
			a.Xattrs = map[string]string{}
		}
		a.Xattrs[strings.TrimPrefix(k, "SCHILY.xattr.")] = v
	}
	if old, ok := known[clean]; ok && e.Typeflag == tar.TypeDir {
		return w.SetFolder(old, a)
	}
	dir := known[path.Dir(clean)]
	name, err := names.Add(path.Base(clean))
	if err != nil {
		return err
	}
	var i Inode
	switch e.Typeflag {
	case tar.TypeDir:
		i, err = w.AddFolder(dir, name, a)
	case tar.TypeReg:
		if i, err = w.AddFile(dir, name, a, int64(len(e.data))); err == nil {
			_, err = io.WriteString(w, e.data)
		}
	case tar.TypeSymlink:
		var target Name
		if target, err = names.Add(e.Linkname); err == nil {
			i, err = w.AddSymlink(dir, name, a, target)
		}
	case tar.TypeLink:
		i = known[path.Clean(e.Linkname)]
		err = w.AddLink(dir, name, i)
	case tar.TypeChar:
		i, err = w.AddCharDevice(dir, name, a, uint32(e.Devmajor), uint32(e.Devminor))
	case tar.TypeBlock:
		i, err = w.AddBlockDevice(dir, name, a, uint32(e.Devmajor), uint32(e.Devminor))
	case tar.TypeFifo:
		i, err = w.AddFifo(dir, name, a)
	}
	known[clean] = i
	return err
}

// same tells both writers the same, compares their bytes and has e2fsck look at them.
func same(t testing.TB, all []told) {
	t.Helper()
	f := create(t)
	size, err := write(f, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := refer(t, all); !bytes.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("byte %#x is %#x, want %#x (%d bytes, want %d)", i, got[i], want[i], len(got), len(want))
			}
		}
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	check(t, f.Name())
}

func check(t testing.TB, name string) {
	t.Helper()
	testneed.Program(t, "e2fsck")
	if out, err := exec.Command("e2fsck", "-fn", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

var stamp = time.Unix(1_600_000_000, 123456789)

func header(kind byte, name string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Mode: 0o640, ModTime: stamp}
}
func folder(name string) told     { return told{header(tar.TypeDir, name), ""} }
func file(name, data string) told { return told{header(tar.TypeReg, name), data} }
func symlink(name, to string) told {
	e := told{header(tar.TypeSymlink, name), ""}
	e.Linkname = to
	return e
}
func link(name, to string) told {
	e := told{header(tar.TypeLink, name), ""}
	e.Linkname = to
	return e
}
func device(kind byte, name string, major, minor int64) told {
	e := told{header(kind, name), ""}
	e.Devmajor, e.Devminor = major, minor
	return e
}

// xattrs gives e attributes, told as name and value in turn.
func (e told) xattrs(all ...string) told {
	e.PAXRecords = map[string]string{}
	for i := 0; i < len(all); i += 2 {
		e.PAXRecords["SCHILY.xattr."+all[i]] = all[i+1]
	}
	return e
}

// TestSameAsReference compares the bytes of trees that hold all there is.
func TestSameAsReference(t *testing.T) {
	long := strings.Repeat("x", 3000)
	many := func(n int) (all []told) {
		for i := range n {
			all = append(all, file(fmt.Sprintf("%0*d", 5+i%250, i), ""))
		}
		return all
	}
	tests := map[string][]told{
		"empty": nil,
		"kinds": {
			folder("d"), file("d/empty", ""), file("d/small", "abc"), file("d/block", strings.Repeat("b", BlockSize)),
			file("d/more", strings.Repeat("m", BlockSize+1)), symlink("d/short", "t"), symlink("d/59", strings.Repeat("s", 59)),
			symlink("d/60", strings.Repeat("s", 60)), symlink("d/long", strings.Repeat("s/", 2000)),
			device(tar.TypeChar, "d/white", 0, 0), device(tar.TypeChar, "d/c", 4095, 1048575), device(tar.TypeBlock, "d/b", 259, 70000),
			device(tar.TypeFifo, "d/f", 0, 0), link("d/l", "d/small"), link("a", "d/short"), link("z", "d/c"),
		},
		"larger-than-the-buffer": {file("a", strings.Repeat("0123456", 400_000)), file("b", strings.Repeat("z", 3*bufferSize))},
		"links-before":           {file("a", "1"), folder("d"), folder("e"), file("d/x", ""), link("d/b", "a"), link("d/a", "a"), link("e/q", "d/x"), file("d/y", "")},
		"folder-again":           {folder("d"), file("d/f", "1"), told{tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o7777, Uid: 70000, Gid: 4e9}, ""}},
		"xattrs": {
			file("in", "1").xattrs("user.a", "b"), file("empty", "").xattrs("user.e", ""), file("both", "").xattrs("user.a", long, "user.b", "1"),
			folder("d").xattrs("trusted.overlay.opaque", "y", "security.x", long), symlink("s", long).xattrs("security.capability", long[:20]),
			file("order", "").xattrs("user.bb", long[:200], "user.a", long[:200], "user.ccc", long[:200], "security.z", long[:200], "trusted.y", long[:200],
				"system.posix_acl_access", long[:200], "system.posix_acl_default", long[:200]),
			device(tar.TypeChar, "c", 1, 3).xattrs("user.a", long[:90]), device(tar.TypeFifo, "f", 1, 3).xattrs("user.a", long[:900]),
		},
		"xattrs-again": {
			folder("d").xattrs("user.a", long), folder("e").xattrs("user.a", long), file("d/f", "1"), folder("d").xattrs("user.a", "now short"),
			folder("e").xattrs("user.a", long, "user.b", long[:800]), file("e/f", strings.Repeat("x", 600_000)), folder("e").xattrs("user.a", long[:2000]),
		},
		"names":  append(many(600), folder("d"), file("d/"+long[:255], "1"), file(strings.Repeat("d/", 1)+"ü", "")),
		"deep":   deep(900),
		"groups": many(maxInodesPerGroup + 5),
	}
	for name, all := range tests {
		t.Run(name, func(t *testing.T) { same(t, all) })
	}
}

func deep(n int) (all []told) {
	for i := range n {
		all = append(all, folder(strings.Repeat("d/", i)+"d"))
	}
	return append(all, file(strings.Repeat("d/", n)+"f", "1"))
}
