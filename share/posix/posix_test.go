package posix

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestErrnoKinds(t *testing.T) {
	for _, c := range []struct {
		e    Errno
		kind error
	}{
		{ENOENT, fs.ErrNotExist}, {EEXIST, fs.ErrExist}, {EACCES, fs.ErrPermission},
		{EINVAL, fs.ErrInvalid}, {EOPNOTSUPP, errors.ErrUnsupported},
	} {
		if !errors.Is(fmt.Errorf("open: %w", c.e), c.kind) {
			t.Errorf("%s is not %v", c.e.Name(), c.kind)
		}
	}
	if errors.Is(EIO, fs.ErrNotExist) {
		t.Error("EIO is ErrNotExist")
	}
}

func TestFromError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Errno
	}{
		{nil, 0}, {fmt.Errorf("a: %w", ENOSPC), ENOSPC}, {errors.New("other"), EIO},
	} {
		if got := FromError(c.err); got != c.want {
			t.Errorf("FromError(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestDeviceNumbers(t *testing.T) {
	for _, c := range [][2]uint32{{0, 0}, {1, 3}, {8, 255}, {8, 256}, {4095, 1<<20 - 1}} {
		dev := Makedev(c[0], c[1])
		if Major(dev) != c[0] || Minor(dev) != c[1] {
			t.Errorf("Makedev(%d, %d) = %#x, back %d, %d", c[0], c[1], dev, Major(dev), Minor(dev))
		}
	}
}
