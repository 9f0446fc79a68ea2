package sandbox

import "context"

// Scratch makes the writable disks of pods. Package sandbox/scratch implements it.
type Scratch interface {
	// Create makes a disk file of that many bytes and says how to attach it. What is
	// at path is replaced. On error nothing is left.
	Create(ctx context.Context, path string, bytes int64) (Disk, error)
	// Remove deletes a disk file. Gone is not an error.
	Remove(ctx context.Context, path string) error
}
