package sandbox

import (
	"context"
	"io"
	"os"
)

// Scratch makes the writable disks of pods. Package sandbox/scratch implements it.
type Scratch interface {
	// Create makes a disk file of that many bytes and says how to attach it. What is
	// at path is replaced. On error nothing is left.
	Create(ctx context.Context, path string, bytes int64) (Disk, error)
	// Remove deletes a disk file. Gone is not an error.
	Remove(ctx context.Context, path string) error
	// Usage is how many bytes of the host's file system a disk file takes: what was
	// written, not its size. Gone is 0.
	Usage(ctx context.Context, path string) (uint64, error)
}

// ScratchRestorer is what Scratch may implement too, for pods that are restored.
type ScratchRestorer interface {
	// Restore is Create for a disk with the content of r, a pack of package sparsefile, which
	// it reads to its end. Of one that is damaged the error is sparsefile.ErrDamaged.
	Restore(ctx context.Context, path string, r io.Reader) (Disk, error)
}

// ScratchFiller is what Scratch may implement too, for templates of VMs.
type ScratchFiller interface {
	// Fill makes an open file, which is all zero, what Create makes of one of its size.
	Fill(ctx context.Context, f *os.File) error
}

// ScratchUsage is what the scratch disks of all pods take of the host's file system.
type ScratchUsage struct {
	Dir   string // an existing folder on it
	Bytes uint64
	Disks int // files, one inode each
}

// ScratchUsage measures the scratch disks.
func (m *Manager) ScratchUsage(ctx context.Context) (ScratchUsage, error) {
	u := ScratchUsage{Dir: m.store.root}
	for _, p := range m.allPods() {
		n, err := m.cfg.Scratch.Usage(ctx, m.store.scratchPath(p.id))
		if err != nil {
			return ScratchUsage{}, err
		}
		if n > 0 {
			u.Bytes += n
			u.Disks++
		}
	}
	return u, nil
}
