package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/testneed"
)

// sparse leaves out what is all zeros.
type sparse struct{ *os.File }

func (s sparse) WriteAt(b []byte, at int64) (int, error) {
	for i := 0; i < len(b); i += BlockSize {
		if part := b[i:min(i+BlockSize, len(b))]; at == 0 || !bytes.Equal(part, zeros[:len(part)]) {
			if _, err := s.File.WriteAt(part, at+int64(i)); err != nil {
				return i, err
			}
		}
	}
	return len(b), nil
}

// make1 has a Writer write what fill tells it to a sparse file, and e2fsck look at it.
func make1(t testing.TB, fill func(*Writer, *Names)) string {
	t.Helper()
	f := create(t)
	var names Names
	w, err := NewWriter(sparse{f}, &names, testMax)
	if err != nil {
		t.Fatal(err)
	}
	fill(w, &names)
	size, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	check(t, f.Name())
	return f.Name()
}

func add(t testing.TB, names *Names, name string) Name {
	t.Helper()
	n, err := names.Add(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func debugfs(t testing.TB, fs, request string) string {
	t.Helper()
	testneed.Program(t, "debugfs")
	out, err := exec.Command("debugfs", "-R", request, fs).Output()
	if err != nil {
		t.Fatalf("debugfs: %v", err)
	}
	return string(out)
}

// TestManyFolders makes more folders in one than a link count can tell.
func TestManyFolders(t *testing.T) {
	const count = maxLinks + 10
	fs := make1(t, func(w *Writer, names *Names) {
		dir, err := w.AddFolder(Root, add(t, names, "d"), Attr{Mode: 0o755})
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			if _, err := w.AddFolder(dir, add(t, names, fmt.Sprint(i)), Attr{Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if out := debugfs(t, fs, fmt.Sprintf("stat /d/%d", count-1)); !strings.Contains(out, "Type: directory") {
		t.Errorf("the last folder is not there: %s", out)
	}
}

// TestLargeFile has more extents than an inode holds.
func TestLargeFile(t *testing.T) {
	const size = 5*extentBlocks*BlockSize + 1
	fs := make1(t, func(w *Writer, names *Names) {
		if _, err := w.AddFile(Root, add(t, names, "f"), Attr{}, size); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeroReader{}, size-1); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "!"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddFile(Root, add(t, names, "next"), Attr{}, 0); err != nil {
			t.Fatal(err)
		}
	})
	var extents []string
	for line := range strings.Lines(debugfs(t, fs, "dump_extents /f")) {
		extents = append(extents, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"Level Entries Logical Physical Length Flags",
		"0/ 1 1/ 1 0 - 163840 163843 163841",
		"1/ 1 1/ 6 0 - 32767 2 - 32769 32768",
		"1/ 1 2/ 6 32768 - 65535 32770 - 65537 32768",
		"1/ 1 3/ 6 65536 - 98303 65538 - 98305 32768",
		"1/ 1 4/ 6 98304 - 131071 98306 - 131073 32768",
		"1/ 1 5/ 6 131072 - 163839 131074 - 163841 32768",
		"1/ 1 6/ 6 163840 - 163840 163842 - 163842 1",
	}
	if diff := cmp.Diff(want, extents); diff != "" {
		t.Errorf("extents (-want +got):\n%s", diff)
	}
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestManyXattrs(t *testing.T) {
	want := map[string]string{}
	for i := range 30 {
		for _, ns := range []string{"user", "trusted", "security"} {
			want[fmt.Sprintf("%s.%s%d", ns, strings.Repeat("n", i%5), i)] = fmt.Sprint(i)
		}
	}
	fs := make1(t, func(w *Writer, names *Names) {
		if _, err := w.AddFile(Root, add(t, names, "f"), Attr{Xattrs: want}, 0); err != nil {
			t.Fatal(err)
		}
	})
	for name, value := range want {
		if got := debugfs(t, fs, "ea_get -x /f "+name); !strings.Contains(got, fmt.Sprintf("%x", value[0])) {
			t.Fatalf("%s = %q, want %q", name, got, value)
		}
	}
}

func TestMakeTime(t *testing.T) {
	for _, tt := range []struct {
		s, ns int64
		want  Time // low 32 bits, then two of the epoch, then nanoseconds
	}{
		{0, 0, 0}, {1, 2, 2<<34 | 1}, {-1, 5, 5<<34 | 0xffffffff}, {FirstSecond, 0, 0x80000000}, {1<<31 - 1, 0, 0x7fffffff},
		{1 << 31, 0, 1<<32 | 0x80000000}, {1<<32 - 1, 0, 1<<32 | 0xffffffff}, {1 << 32, 0, 1 << 32}, {LastSecond, 9, 9<<34 | 3<<32 | 0x7fffffff},
		{LastSecond + 1, 9, 3<<32 | 0x7fffffff}, {FirstSecond - 1, 9, 0x80000000},
	} {
		if got := MakeTime(time.Unix(tt.s, tt.ns)); got != tt.want {
			t.Errorf("MakeTime(%d, %d) = %#x, want %#x", tt.s, tt.ns, got, tt.want)
		}
	}
	if got := MakeTime(time.Time{}); got != 0 {
		t.Errorf("MakeTime(zero) = %#x, want 0", got)
	}
}

// failing is an output of which one write fails, and counts.
type failing struct {
	left, after int
	err         error
}

func (f *failing) WriteAt(b []byte, _ int64) (int, error) {
	if f.left--; f.left == 0 {
		return len(b) / 2, f.err
	}
	if f.left < 0 {
		f.after++
	}
	return len(b), nil
}

// TestEveryWriteFails fails each write to the output once: the error is told, and nothing
// is written after it.
func TestEveryWriteFails(t *testing.T) {
	long := strings.Repeat("x", 3000)
	all := []told{
		folder("d").xattrs("user.a", long), file("d/f", strings.Repeat("y", 2*bufferSize)), folder("d").xattrs("user.a", "b"),
		symlink("s", long), file("g", strings.Repeat("z", bufferSize)), link("h", "g"),
	}
	for n := 1; ; n++ {
		f := &failing{left: n, err: errors.New("disk is full")}
		_, err := write(f, all)
		if err == nil {
			if n < 6 {
				t.Errorf("%d writes in all, too few for this test", n-1)
			}
			return
		}
		if !errors.Is(err, f.err) || f.after > 0 {
			t.Errorf("write %d fails: %v, and %d writes follow", n, err, f.after)
		}
	}
}

func TestRefuses(t *testing.T) {
	fresh := func(max int64) (*Writer, *Names) {
		var names Names
		w, err := NewWriter(&failing{}, &names, max)
		if err != nil {
			t.Fatal(err)
		}
		return w, &names
	}
	w, names := fresh(testMax)
	if _, err := w.AddFile(Root, add(t, names, "f"), Attr{}, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "four"); !errors.Is(err, ErrContent) {
		t.Errorf("too much content: %v", err)
	}
	if _, err := w.ReadFrom(strings.NewReader("four")); !errors.Is(err, ErrContent) {
		t.Errorf("too much content read: %v", err)
	}
	w, names = fresh(testMax)
	if _, err := w.AddFile(Root, add(t, names, "f"), Attr{}, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(&failingReader{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("content that breaks: %v", err)
	}
	w, names = fresh(testMax)
	if _, err := w.AddFile(Root, add(t, names, "f"), Attr{}, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddFolder(Root, add(t, names, "d"), Attr{}); !errors.Is(err, ErrContent) {
		t.Errorf("too little content: %v", err)
	}
	if _, err := w.Close(); !errors.Is(err, ErrContent) {
		t.Errorf("too little content at the end: %v", err)
	}

	w, names = fresh(testMax)
	if _, err := w.AddFile(Root, add(t, names, "big"), Attr{}, MaxFile+1); !errors.Is(err, ErrFile) {
		t.Errorf("file that is too large: %v", err)
	}
	f, err := w.AddFile(Root, add(t, names, "f"), Attr{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; ; i++ {
		if err := w.AddLink(Root, add(t, names, fmt.Sprint(i)), f); err == nil {
			continue
		} else if !errors.Is(err, ErrLinks) || i != maxLinks {
			t.Errorf("link %d: %v", i, err)
		}
		break
	}
	if _, err := w.AddFolder(Root, add(t, names, "x"), Attr{Xattrs: map[string]string{"user.a": strings.Repeat("x", 5000)}}); !errors.Is(err, ErrXattrs) {
		t.Errorf("attribute that is too large: %v", err)
	}

	w, names = fresh(1 << 20)
	if _, err := w.AddFile(Root, add(t, names, "f"), Attr{}, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("file of the file system's size: %v", err)
	}
	w, names = fresh(64 << 10)
	for i := range 1000 {
		if _, err := w.AddFolder(Root, add(t, names, fmt.Sprint(i)), Attr{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many folders for the size: %v", err)
	}
}

type failingReader struct{}

func (*failingReader) Read(b []byte) (int, error) { return copy(b, "x"), io.ErrUnexpectedEOF }

func TestNames(t *testing.T) {
	var n Names
	var kept []Name
	want := func(i int) string { return strings.Repeat(fmt.Sprint(i), i%300) }
	for i := range 3000 {
		kept = append(kept, add(t, &n, want(i)))
	}
	for i, k := range kept {
		if diff := cmp.Diff(want(i), string(n.Bytes(k))); diff != "" {
			t.Fatalf("name %d (-want +got):\n%s", i, diff)
		}
	}
	n.chunks = append(n.chunks, make([][]byte, maxChunks-len(n.chunks))...)
	if _, err := n.Add(strings.Repeat("x", MaxName)); err != nil {
		t.Errorf("Add to the last chunk: %v", err)
	}
	n.chunks[maxChunks-1] = make([]byte, 1<<chunkBits)
	if _, err := n.Add("x"); !errors.Is(err, ErrNamesFull) {
		t.Errorf("Add to full names: %v", err)
	}
}

// TestMemory counts what a Writer holds for each file.
func TestMemory(t *testing.T) {
	const count, most = 100_000, 80
	var names Names
	w, err := NewWriter(&failing{}, &names, testMax)
	if err != nil {
		t.Fatal(err)
	}
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools keep what they have over one collection
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	for i := range count {
		if _, err := w.AddFile(Root, add(t, &names, fmt.Sprintf("name-%06d", i)), Attr{Mtime: 1}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if each := (held() - before) / count; each > most {
		t.Errorf("%d bytes for each file, want %d at most", each, most)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// FuzzSameAsReference makes trees of any shape and compares both writers' bytes.
func FuzzSameAsReference(f *testing.F) {
	f.Add([]byte("0123456789"))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 250, 251, 252, 253, 254, 255})
	f.Add(bytes.Repeat([]byte{5, 0, 200}, 60))
	f.Fuzz(func(t *testing.T, b []byte) { same(t, tree(b)) })
}

// tree makes a tree of at most 300 names, of three bytes each.
func tree(b []byte) (all []told) {
	folders, files := []string{""}, []string{}
	had := map[string][]string{} // tar2ext4 keeps a folder's attributes that are not told again
	for i := 0; i+2 < len(b) && i < 900; i += 3 {
		kind, where, size := b[i], int(b[i+1]), int(b[i+2])
		name := fmt.Sprintf("%s%0*d", folders[where%len(folders)], 1+size%200, i)
		attrs := []string{"user." + strings.Repeat("n", size%40), strings.Repeat("v", size*2), "trusted.t", fmt.Sprint(size)}
		switch kind % 9 {
		case 0:
			all, folders = append(all, folder(name)), append(folders, name+"/")
		case 1:
			all, files = append(all, file(name, strings.Repeat("c", size*size))), append(files, name)
		case 2:
			all, files = append(all, symlink(name, strings.Repeat("t", size+1))), append(files, name)
		case 3:
			if len(files) > 0 {
				all = append(all, link(name, files[where%len(files)]))
			}
		case 4:
			all = append(all, file(name, "x").xattrs(attrs...))
		case 5:
			all, folders = append(all, folder(name).xattrs(attrs...)), append(folders, name+"/")
			had[name+"/"] = attrs
		case 6:
			if d := folders[where%len(folders)]; d != "" && len(had[d]) < 16 {
				had[d] = append(had[d], attrs[:2*(size%3)]...)
				all = append(all, folder(d).xattrs(had[d]...))
			}
		case 7:
			e := device('3', name, int64(where), int64(size)*1000)
			e.Uid, e.Gid, e.AccessTime, e.ChangeTime = size*100_000, where, stamp, stamp.Add(time.Hour)
			all = append(all, e)
		case 8:
			all = append(all, device('6', name, 0, 0))
		}
	}
	return all
}
