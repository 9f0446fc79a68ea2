package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/diskfull"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/sandbox"
)

// Scratch makes the writable disks of pods: dynamic VHDX files, which take what was
// written. They are blank, and the guest makes the file system. A VM is given access to
// one when it is attached. It implements sandbox.Scratch, has nothing to close, and is safe for concurrent use.
type Scratch struct {
	create func(path string, bytes uint64) error // makes a VHDX; the path ends in .vhdx
}

var (
	_ sandbox.Scratch         = (*Scratch)(nil)
	_ sandbox.ScratchRestorer = (*Scratch)(nil)
)

// NewScratch makes a Scratch.
func NewScratch() *Scratch { return &Scratch{create: createVHDX} }

// Limits of a VHDX (MS-VHDX: the size, and that it is in sectors).
const (
	minVHDX    = 3 << 20
	maxVHDX    = 64 << 40
	vhdxSector = 512
	vhdxBlock  = 1 << 20 // by which the file grows
	vhdxSuffix = ".vhdx"
)

// vhdxPath is the file of a disk: Windows goes by its name.
func vhdxPath(path string) string {
	if strings.EqualFold(filepath.Ext(path), vhdxSuffix) {
		return path
	}
	return path + vhdxSuffix
}

// Create implements sandbox.Scratch. The disk's path ends in .vhdx, whatever the one asked
// for does. A full disk is a ResourceExhausted error.
func (s *Scratch) Create(ctx context.Context, path string, bytes int64) (_ sandbox.Disk, err error) {
	if bytes < minVHDX || bytes > maxVHDX || bytes%vhdxSector != 0 {
		return sandbox.Disk{}, fmt.Errorf("make scratch disk: %d bytes are not %d to %d in whole sectors: %w",
			bytes, int64(minVHDX), int64(maxVHDX), errdefs.ErrInvalidArgument)
	}
	if err := ctx.Err(); err != nil {
		return sandbox.Disk{}, fmt.Errorf("make scratch disk: %w", err)
	}
	if err := s.Remove(ctx, path); err != nil {
		return sandbox.Disk{}, err
	}
	file := vhdxPath(path)
	if err := s.create(file, uint64(bytes)); err != nil {
		if diskfull.Is(err) {
			err = fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
		}
		return sandbox.Disk{}, fmt.Errorf("make scratch disk %s: %w", file, errors.Join(err, s.Remove(ctx, path)))
	}
	return sandbox.Disk{Path: file, Format: sandbox.DiskVHDX}, nil
}

// Restore implements sandbox.ScratchRestorer.
func (s *Scratch) Restore(ctx context.Context, path string, r io.Reader) (_ sandbox.Disk, err error) {
	file := vhdxPath(path)
	defer func() {
		if err != nil {
			if diskfull.Is(err) {
				err = fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
			}
			err = fmt.Errorf("restore scratch disk %s: %w", file, errors.Join(err, s.Remove(ctx, path)))
		}
	}()
	if err := s.Remove(ctx, path); err != nil {
		return sandbox.Disk{}, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return sandbox.Disk{}, err
	}
	// A dynamic VHDX has some more than what it holds.
	if err := errors.Join(sparsefile.Unpack(ctx, f, r, 2*maxVHDX), f.Close()); err != nil {
		return sandbox.Disk{}, err
	}
	return sandbox.Disk{Path: file, Format: sandbox.DiskVHDX}, nil
}

// Remove implements sandbox.Scratch.
func (s *Scratch) Remove(_ context.Context, path string) error {
	if err := removeFile(vhdxPath(path)); err != nil {
		return fmt.Errorf("remove scratch disk: %w", err)
	}
	return nil
}

// Usage implements sandbox.Scratch. A dynamic VHDX is as long as what it takes.
func (s *Scratch) Usage(_ context.Context, path string) (uint64, error) {
	fi, err := os.Stat(vhdxPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("measure scratch disk: %w", err)
	}
	return uint64(fi.Size()), nil
}
