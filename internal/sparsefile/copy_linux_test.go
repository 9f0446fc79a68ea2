package sparsefile

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestCopy: the copy has the same content, and takes no more room.
func TestCopy(t *testing.T) {
	const big = 40 << 20
	for name, at := range map[string]map[int64]string{
		"hole": nil, "start": {0: "x"}, "end": {big - 1: "x"}, "some": {5 << 20: "five", 7<<20 - 2: "seven"},
		"zeros": {0: string(make([]byte, 1<<20)), 3<<20 + 5: "x"},
	} {
		src, dst := write(t, big, at), write(t, 0, nil)
		if err := Copy(dst, src); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(content(t, dst), content(t, src)) {
			t.Errorf("%s: the copy differs", name)
		}
		var st [2]syscall.Stat_t
		for i, f := range []*os.File{dst, src} {
			if err := syscall.Fstat(int(f.Fd()), &st[i]); err != nil {
				t.Fatal(err)
			}
		}
		if st[0].Blocks > st[1].Blocks {
			t.Errorf("%s: the copy takes %d blocks, the file %d", name, st[0].Blocks, st[1].Blocks)
		}
	}
	src := write(t, 1<<20, map[int64]string{0: "x"})
	closed := write(t, 0, nil)
	closed.Close()
	if err := Copy(closed, src); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Copy to a closed file = %v", err)
	}
}
