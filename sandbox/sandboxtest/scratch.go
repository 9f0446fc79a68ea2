package sandboxtest

import (
	"context"

	"github.com/porthole-run/porthole/sandbox"
)

// Create implements sandbox.Scratch.
func (s Scratch) Create(ctx context.Context, path string, bytes int64) (sandbox.Disk, error) {
	if err := s.call(ctx, "ScratchCreate"); err != nil {
		return sandbox.Disk{}, err
	}
	defer s.mu.Unlock()
	s.scratch[path] = bytes
	return sandbox.Disk{Path: path, Format: sandbox.DiskRaw}, nil
}

// Remove implements sandbox.Scratch.
func (s Scratch) Remove(ctx context.Context, path string) error {
	if err := s.call(ctx, "ScratchRemove"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.scratch, path)
	return nil
}

// Usage implements sandbox.Scratch: a disk takes a tenth of its size.
func (s Scratch) Usage(_ context.Context, path string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.scratch[path]) / 10, nil
}
