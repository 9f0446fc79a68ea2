package sparsefile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// write makes a file of a size with bytes at offsets.
func write(t testing.TB, size int64, at map[int64]string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, s := range at {
		if _, err := f.WriteAt([]byte(s), off); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func content(t testing.TB, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPack(t *testing.T) {
	const big = 40 << 20
	for _, tc := range []struct {
		name   string
		size   int64
		at     map[int64]string
		packed int // bytes, at most
	}{
		{"empty", 0, nil, 100},
		{"hole", big, nil, 100},
		{"odd", 1001, map[int64]string{1000: "x"}, 1200},
		{"ends", big + 3, map[int64]string{0: "first", big: "end"}, 3 * block},
		{"zeros_written", big, map[int64]string{0: string(make([]byte, 1<<20)), 5 << 20: "x"}, 2 * block},
		{"long_run", big, map[int64]string{block / 2: string(bytes.Repeat([]byte("run"), 10<<20))}, 31 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := write(t, tc.size, tc.at)
			var b bytes.Buffer
			if err := Pack(t.Context(), &b, src); err != nil {
				t.Fatal(err)
			}
			if b.Len() > tc.packed {
				t.Errorf("pack of %d bytes, want at most %d", b.Len(), tc.packed)
			}
			dst := write(t, 0, nil)
			if err := Unpack(t.Context(), dst, &b, tc.size); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, dst), content(t, src)) {
				t.Error("content differs")
			}
			// The same, whatever the holes of the file are.
			var full, again bytes.Buffer
			dense := write(t, 0, nil)
			if _, err := dense.Write(content(t, src)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(Pack(t.Context(), &full, dense), Pack(t.Context(), &again, src)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(full.Bytes(), again.Bytes()) {
				t.Error("a file without holes makes another pack")
			}
		})
	}
}

func TestUnpack_Damaged(t *testing.T) {
	src := write(t, 1<<20, map[int64]string{0: "x", 512 << 10: "y"})
	var good bytes.Buffer
	if err := Pack(t.Context(), &good, src); err != nil {
		t.Fatal(err)
	}
	changed := func(at int, n uint64) []byte {
		b := bytes.Clone(good.Bytes())
		binary.LittleEndian.PutUint64(b[at:], n)
		return b
	}
	const first = len(magic) + 8
	for _, tc := range []struct {
		name string
		pack []byte
		want error
	}{
		{"nothing", nil, ErrDamaged},
		{"foreign", bytes.Repeat([]byte("what is this?"), 9), ErrDamaged},
		{"cut", good.Bytes()[:good.Len()/2], ErrDamaged},
		{"no_end", good.Bytes()[:good.Len()-16], ErrDamaged},
		{"more", append(bytes.Clone(good.Bytes()), 'x'), ErrDamaged},
		{"too_large", changed(len(magic), 1<<40), ErrTooLarge},
		{"piece_outside", changed(first, 1<<20), ErrDamaged},
		{"piece_long", changed(first+8, 1<<62), ErrDamaged},
		{"piece_empty", changed(first+8, 0), ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Unpack(t.Context(), write(t, 0, nil), bytes.NewReader(tc.pack), 1<<20); !errors.Is(err, tc.want) {
				t.Errorf("Unpack() = %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Unpack(ctx, write(t, 0, nil), &good, 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack() of nobody = %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	if err := Pack(context.Background(), &b, write(f, 1<<18, map[int64]string{0: "x", 1 << 17: "y"})); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, pack []byte) {
		dst := write(t, 0, nil)
		if Unpack(t.Context(), dst, bytes.NewReader(pack), 1<<20) != nil {
			return
		}
		var again bytes.Buffer
		if err := Pack(t.Context(), &again, dst); err != nil {
			t.Fatal(err)
		}
		other := write(t, 0, nil)
		if err := Unpack(t.Context(), other, &again, 1<<20); err != nil || !bytes.Equal(content(t, dst), content(t, other)) {
			t.Errorf("packed again: %v", err)
		}
	})
}
