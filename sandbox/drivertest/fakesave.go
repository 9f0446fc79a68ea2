package drivertest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

var (
	_ sandbox.Saver    = (*FakeVM)(nil)
	_ sandbox.Restorer = (*Fake)(nil)
)

// FakeFacts are the facts of all fakes.
const FakeFacts = "fake machine"

// Count implements Counter.
func (v *FakeVM) Count() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counted++
	return v.counted
}

// fakeMemory is all that a fake VM's memory holds.
type fakeMemory struct {
	Counted int64 `json:"counted"`
}

// SaveTo implements sandbox.Saver. Beside what it was made to fail with, "SaveTo" before it
// did anything, it can fail when the state is written ("SaveTo.state") and when the VM is to
// go on ("SaveTo.resume"), which ends the VM.
func (v *FakeVM) SaveTo(ctx context.Context, path string, still func(context.Context) error) (s sandbox.SavedVM, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save vm %s: %w", v.config.ID, err)
		}
	}()
	if err := v.begin(ctx, "SaveTo"); err != nil {
		return s, err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%s: %w", path, errdefs.ErrAlreadyExists)
	}
	v.mu.Lock()
	memory := fakeMemory{Counted: v.counted}
	for lun, d := range v.disks {
		s.Disks = append(s.Disks, sandbox.SavedDisk{Address: sandbox.DiskAddress{LUN: lun}, Disk: d})
	}
	v.mu.Unlock()
	slices.SortFunc(s.Disks, func(a, b sandbox.SavedDisk) int { return cmp.Compare(a.Address.LUN, b.Address.LUN) })
	s.Facts = FakeFacts
	defer func() {
		if rerr := v.fake.called("SaveTo.resume"); rerr != nil {
			err = errors.Join(err, rerr)
			v.Kill(rerr)
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}()
	b, err := json.Marshal(memory)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err = errors.Join(err, v.fake.called("SaveTo.state")); err != nil {
		return s, err
	}
	return s, still(ctx)
}

// SaveFacts implements sandbox.Restorer.
func (f *Fake) SaveFacts(context.Context) (string, error) {
	return FakeFacts, f.called("SaveFacts")
}

// Restore implements sandbox.Restorer.
func (f *Fake) Restore(ctx context.Context, c sandbox.VMConfig, s sandbox.SavedVM, path string) (_ sandbox.VM, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore vm %s: %w", c.ID, err)
		}
	}()
	if err := f.called("Restore"); err != nil {
		return nil, err
	}
	if err := s.Fits(FakeFacts); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	var memory fakeMemory
	if err := json.Unmarshal(b, &memory); err != nil {
		return nil, fmt.Errorf("state: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	made, err := f.Create(ctx, c)
	if err != nil {
		return nil, err
	}
	v := made.(*FakeVM)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counted = memory.Counted
	for _, d := range s.Disks {
		v.disks[d.Address.LUN] = d.Disk
	}
	return v, nil
}
