package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

func TestConvertRefuses(t *testing.T) {
	deep := strings.Repeat("d/", 3000)
	tests := []struct {
		name    string
		entries []ent
		want    string // in the error, with the entry's name
	}{
		{"dotdot", []ent{file("../evil", "x")}, `"../evil": path climbs out`},
		{"dotdot-inside", []ent{file("a/../../evil", "x")}, `"a/../../evil": path climbs out`},
		{"rooted-dotdot", []ent{file("/../evil", "x")}, `"/../evil": path climbs out`},
		{"absolute-symlink", []ent{symlink("esc", "/etc"), file("esc/passwd", "x")}, `"esc/passwd": path climbs out`},
		{"climbing-symlink", []ent{symlink("a/esc", "../../etc"), file("a/esc/passwd", "x")}, `"a/esc/passwd": path climbs out`},
		{"symlink-loop", []ent{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}, `"a/x": too many symbolic links`},
		{"hard-link-out", []ent{link("x", "../../etc/passwd")}, `"x": path climbs out`},
		{"hard-link-through-symlink", []ent{symlink("esc", "/etc"), link("x", "esc/passwd")}, `"x": path climbs out`},
		{"hard-link-missing", []ent{link("x", "nothing")}, `"x": target of the hard link is not in the layer`},
		{"hard-link-to-whiteout", []ent{file(".wh.a", ""), link("x", "a")}, `"x": target of the hard link is not in the layer`},
		{"hard-link-to-folder", []ent{folder("d", 0o755), link("x", "d")}, `"x": target of the hard link is a folder`},
		{"file-as-parent", []ent{file("a", ""), file("a/b", "")}, `"a/b": a parent of the path is not a folder`},
		{"root-is-a-file", []ent{file(".", "x")}, `root of an image must be a folder`},
		{"long-component", []ent{file(strings.Repeat("n", 256), "")}, `path is longer`},
		{"long-path", []ent{file(deep+"f", "")}, `path is longer`},
		{"empty-whiteout", []ent{file("a/.wh.", "")}, `"a/.wh.": whiteout without a name`},
		{"dotdot-whiteout", []ent{file("a/.wh...", "")}, `"a/.wh...": whiteout without a name`},
		{"empty-symlink", []ent{symlink("s", "")}, `"s": target of the symbolic link is empty`},
		{"xattr-too-large", []ent{file("f", "").xattr("user.x", strings.Repeat("x", 5000))}, `"f": extended attributes do not fit`},
		{"bad-acl", []ent{file("f", "").xattr("system.posix_acl_access", "junk")}, `"f": extended attribute "system.posix_acl_access": not a POSIX ACL`},
		{"odd-type", []ent{{tar.Header{Typeflag: 'V', Name: "vol"}, ""}}, `"vol": entries of type 'V' are not supported`},
		{"device-number", []ent{{tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 5000}, ""}}, `"c": device number is out of range`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := convertError(t, makeTar(t, tt.entries...))
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Convert = %v, want InvalidArgument with %q", err, tt.want)
			}
		})
	}
}

func TestConvertNotATar(t *testing.T) {
	whole := makeTar(t, file("a", strings.Repeat("x", 4096)))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(whole)
	z.Close()
	tests := map[string][]byte{
		"text":              []byte(strings.Repeat("this is no tar. ", 100)),
		"short":             []byte("no"),
		"cut-in-file":       whole[:2000],
		"cut-gzip":          zipped.Bytes()[:zipped.Len()/2],
		"damaged-gzip":      append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, "nonsense"...),
		"damaged-zstd":      append([]byte{0x28, 0xb5, 0x2f, 0xfd}, "nonsense nonsense"...),
		"text-in-gzip":      gzipped(t, []byte(strings.Repeat("this is no tar. ", 100))),
		"conflict-then-cut": append(makeTar(t, file("a", "1"), file("a", "2"))[:2048], "rubbish"...),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if err := convertError(t, b); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Convert = %v, want InvalidArgument", err)
			}
		})
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	z.Close()
	return out.Bytes()
}

func TestConvertCompressions(t *testing.T) {
	plain := makeTar(t, file("a", "content"), file("a", "again"))
	enc, _ := zstd.NewWriter(nil)
	want, _ := convert(t, plain)
	wantBytes, _ := os.ReadFile(want)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, enc.EncodeAll(plain, nil)...)
	for name, b := range map[string][]byte{
		"gzip": gzipped(t, plain), "zstd": enc.EncodeAll(plain, nil), "zstd-skippable": skippable,
		"two-gzip-members": append(gzipped(t, plain[:700]), gzipped(t, plain[700:])...),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "l.vhd"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			res, err := Convert(t.Context(), bytesSource(b), f, Options{DiffID: digest.FromBytes(plain)})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(f.Name())
			if !bytes.Equal(got, wantBytes) || res.TarBytes != int64(len(plain)) {
				t.Errorf("layer differs from that of the plain tar (%d tar bytes, want %d)", res.TarBytes, len(plain))
			}
		})
	}
}

func TestConvertWrongDiffID(t *testing.T) {
	f, _ := os.Create(filepath.Join(t.TempDir(), "l.vhd"))
	defer f.Close()
	_, err := Convert(t.Context(), bytesSource(makeTar(t)), f, Options{DiffID: digest.FromString("other")})
	if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Convert = %v, want FailedPrecondition", err)
	}
}

func TestConvertBounds(t *testing.T) {
	b := makeTar(t, file("a", strings.Repeat("x", 1<<20)), file("b/c/d", ""))
	for name, opts := range map[string]Options{"size": {MaxSize: 1 << 19}, "entries": {MaxEntries: 3}} {
		t.Run(name, func(t *testing.T) {
			f, _ := os.Create(filepath.Join(t.TempDir(), "l.vhd"))
			defer f.Close()
			if _, err := Convert(t.Context(), bytesSource(b), f, opts); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Convert = %v, want InvalidArgument", err)
			}
		})
	}
}

func TestConvertCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	f, _ := os.Create(filepath.Join(t.TempDir(), "l.vhd"))
	defer f.Close()
	src := func(context.Context) (io.ReadCloser, error) {
		h := makeTar(t, file("a", strings.Repeat("x", 1<<16)))[:512]
		return io.NopCloser(io.MultiReader(bytes.NewReader(h), cancelReader{func() { cancel(stop) }})), nil
	}
	if _, err := Convert(ctx, src, f, Options{}); !errors.Is(err, stop) {
		t.Errorf("Convert = %v, want %v", err, stop)
	}
}

type cancelReader struct{ cancel func() }

func (c cancelReader) Read(b []byte) (int, error) { c.cancel(); return 1, nil }

func TestSparseFileKeepsRewrites(t *testing.T) {
	f, _ := os.Create(filepath.Join(t.TempDir(), "s"))
	defer f.Close()
	s := &sparseFile{f: f}
	data := bytes.Repeat([]byte{7}, 10000)
	for _, w := range []struct {
		at int64
		b  []byte
	}{{0, data}, {4096, make([]byte, 4096)}, {20000, make([]byte, 9000)}, {29000, []byte{1}}} {
		s.Seek(w.at, io.SeekStart)
		if n, err := s.Write(w.b); n != len(w.b) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	want := make([]byte, 29001)
	copy(want, data)
	clear(want[4096:8192])
	want[29000] = 1
	if got, _ := os.ReadFile(f.Name()); !bytes.Equal(got, want) {
		t.Error("file differs from what was written")
	}
}

// FuzzConvert feeds any bytes to the converter: it must answer, and what it accepts
// must be a sound file system whichever way it was read.
func FuzzConvert(f *testing.F) {
	for _, entries := range [][]ent{
		{file("a", "1"), folder("b", 0o755), link("c", "a"), symlink("d", "b"), file("d/x", "2")},
		{file("a", "1"), file("a", "2"), file(".wh.a", ""), file("a/.wh..wh..opq", "")},
		{file(".wh.b", ""), file("b/x", ""), folder("b", 0o700), file("b", "file")},
	} {
		f.Add(makeTar(f, entries...))
	}
	f.Add(gzipped(f, makeTar(f, file("../x", ""))))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(out.Name())
		defer out.Close()
		res, err := Convert(context.Background(), bytesSource(b), out, Options{MaxSize: 64 << 20, MaxEntries: 1000})
		if err != nil {
			if errdefs.IsUnknown(errdefs.Resolve(err)) {
				t.Errorf("Convert = %v, an error without a kind", err)
			}
			return
		}
		fi, _ := out.Stat()
		if fi.Size() != res.Size || res.Size%512 != 0 {
			t.Errorf("size = %d, result says %d", fi.Size(), res.Size)
		}
	})
}

// bigTar is a stream of many files, made as it is read.
func bigTar(files, size int) Source {
	return func(context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			block := make([]byte, size)
			rand.Read(block)
			tw := tar.NewWriter(w)
			for i := range files {
				tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%d/f%d", i%100, i), Size: int64(size), Mode: 0o644})
				if _, err := tw.Write(block); err != nil {
					return
				}
			}
			tw.Close()
			w.Close()
		}()
		return r, nil
	}
}

// TestConvertMemory converts 400 MB in 20,000 files and looks at the heap meanwhile.
func TestConvertMemory(t *testing.T) {
	f, _ := os.Create(filepath.Join(t.TempDir(), "l.vhd"))
	defer f.Close()
	var peak, count uint64
	src := func(ctx context.Context) (io.ReadCloser, error) {
		r, err := bigTar(20_000, 20_000)(ctx)
		return struct {
			io.Reader
			io.Closer
		}{readFunc(func(b []byte) (int, error) {
			if count++; count%400 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
			return r.Read(b)
		}), r}, err
	}
	if _, err := Convert(t.Context(), src, f, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("peak heap %d MiB", peak>>20)
	if peak > 64<<20 {
		t.Errorf("peak heap = %d MiB, want 64 at most", peak>>20)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func BenchmarkConvert(b *testing.B) {
	var plain bytes.Buffer
	r, _ := bigTar(4000, 20_000)(b.Context())
	io.Copy(&plain, r)
	enc, _ := zstd.NewWriter(nil)
	for _, bb := range []struct {
		name string
		data []byte
	}{{"plain", plain.Bytes()}, {"gzip", gzipped(b, plain.Bytes())}, {"zstd", enc.EncodeAll(plain.Bytes(), nil)}} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(plain.Len()))
			for range b.N {
				f, err := os.Create(filepath.Join(b.TempDir(), "l.vhd"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Convert(b.Context(), bytesSource(bb.data), f, Options{}); err != nil {
					b.Fatal(err)
				}
				f.Close()
				os.Remove(f.Name())
			}
		})
	}
}
