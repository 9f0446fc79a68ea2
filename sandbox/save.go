package sandbox

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
)

// A Saver is a VM that can be saved while it runs and goes on afterwards.
type Saver interface {
	// SaveTo makes the VM stand still, writes what it is, its memory too, to a new file at
	// path, calls still, and lets the VM go on, whether or not anything failed, also when
	// ctx has ended. Disks are not saved: still copies those that have to fit the memory.
	// No device comes or goes meanwhile. What is read-only and the files of channels are
	// told in the answer. On error there is no file at path, unless one was there before:
	// AlreadyExists. It may be called again, not concurrently.
	SaveTo(ctx context.Context, path string, still func(context.Context) error) (SavedVM, error)
}

// A Restorer is a Driver that can make VMs of what was saved.
type Restorer interface {
	// SaveFacts names all that a saved VM depends on besides its size and the content of
	// kernel and initrd: of a machine of other facts it is not restored.
	SaveFacts(ctx context.Context) (string, error)
	// Restore makes a VM like Create does, whose Start lets it go on where it was saved. c
	// is the saved one's but for ID, Dir and where kernel and initrd are. The disks of s
	// are attached at their addresses, from the paths that s has now, and the channels of s
	// are there for OpenChannel to return; the NIC is not attached. The file at path is
	// only read, until Start has returned, and serves any number of VMs. What does not fit
	// is FailedPrecondition. On error nothing is left.
	Restore(ctx context.Context, c VMConfig, s SavedVM, path string) (VM, error)
}

// SavedVM is what a saved VM has of devices. A VM that is restored has the same.
type SavedVM struct {
	Facts    string          `json:"facts"` // SaveFacts when it was saved
	Disks    []SavedDisk     `json:"disks"` // by address
	Channels []SavedChannel  `json:"channels,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"` // the driver's own
}

// Fits says whether what was saved can be restored on a machine of these facts.
func (s SavedVM) Fits(facts string) error {
	if s.Facts == facts {
		return nil
	}
	return fmt.Errorf("it was saved on another machine (%s) than this one (%s): %w", s.Facts, facts, errdefs.ErrFailedPrecondition)
}

// SavedDisk is a disk of a saved VM.
type SavedDisk struct {
	Address DiskAddress `json:"address"`
	Disk    Disk        `json:"disk"`
}

// SavedChannel is a channel of a saved VM.
type SavedChannel struct {
	Name   string `json:"name"`
	Number int    `json:"number"` // of its device
}
