package sandboxtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

var (
	_ sandbox.Checkpointer    = (*Shim)(nil)
	_ sandbox.ScratchRestorer = Scratch{}
)

// scratchWord is all that a simulated scratch disk holds when it is saved.
const scratchWord = "a scratch disk of "

// Checkpoint implements sandbox.Checkpointer. The state tells which containers ran. Besides
// "Checkpoint", which fails before anything was done, "CheckpointLate" fails when all was.
func (s *Shim) Checkpoint(ctx context.Context, c sandbox.CheckpointSetup) (_ sandbox.SavedPod, err error) {
	if err := s.enter(ctx, "Checkpoint"); err != nil {
		return sandbox.SavedPod{}, err
	}
	defer s.n.mu.Unlock()
	state, scratch := filepath.Join(c.Dir, sandbox.StateFile), filepath.Join(c.Dir, sandbox.ScratchFile)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(state), os.RemoveAll(scratch))
		}
	}()
	setup := s.p.pods[c.PodID]
	address := sandbox.DiskAddress{LUN: 7}
	out := sandbox.SavedPod{
		VCPUs: s.p.config.VCPUs, MemoryMiB: s.p.config.MemoryMiB, PodID: c.PodID, Scratch: address,
		VM: sandbox.SavedVM{Facts: "simulated", Disks: []sandbox.SavedDisk{{Address: address, Disk: setup.Scratch}}},
	}
	for i, id := range slices.Sorted(maps.Keys(s.p.containers)) {
		ct := s.p.containers[id]
		if ct.status() != "running" || !slices.Contains(c.ContainerIDs, id) {
			continue
		}
		saved := sandbox.SavedContainer{ID: id, GuestID: id, Stdin: ct.setup.Stdin, Terminal: ct.setup.Terminal}
		for _, l := range ct.setup.Layers {
			at := sandbox.DiskAddress{LUN: uint32(20 + i)}
			saved.Layers = append(saved.Layers, l.DiffID)
			out.Layers = append(out.Layers, sandbox.SavedLayer{DiffID: l.DiffID, Address: at})
			out.VM.Disks = append(out.VM.Disks, sandbox.SavedDisk{Address: at, Disk: sandbox.Disk{Path: l.Path, ReadOnly: true}})
		}
		for _, m := range ct.setup.Mounts {
			saved.Mounts = append(saved.Mounts, sandbox.SavedMount{Path: m.ContainerPath, ReadOnly: m.ReadOnly, Options: m.Options})
		}
		out.Containers = append(out.Containers, saved)
	}
	memory, err := json.Marshal(c.ContainerIDs)
	if err != nil {
		return out, err
	}
	if err := errors.Join(os.WriteFile(state, memory, 0o600), os.WriteFile(scratch, []byte(scratchWord+c.PodID), 0o600)); err != nil {
		return out, err
	}
	return out, s.n.failCall["CheckpointLate"]
}

// RestorePod implements sandbox.Checkpointer.
func (s *Shim) RestorePod(ctx context.Context, r sandbox.PodRestore) error {
	if err := s.enter(ctx, "RestorePod"); err != nil {
		return err
	}
	defer s.n.mu.Unlock()
	from := s.p.config.Restore
	if from == nil {
		return fmt.Errorf("vm was not restored: %w", errdefs.ErrFailedPrecondition)
	}
	for _, d := range from.Saved.VM.Disks {
		if d.Address == from.Saved.Scratch && d.Disk != r.Setup.Scratch {
			return fmt.Errorf("scratch disk %s is not the vm's %s: %w", r.Setup.Scratch.Path, d.Disk.Path, errdefs.ErrInvalidArgument)
		}
	}
	s.p.pods[r.Setup.PodID] = r.Setup
	for _, c := range r.Containers {
		s.p.containers[c.ID] = newContainer(sandbox.ContainerSetup{
			PodID: r.Setup.PodID, ContainerID: c.ID, Layers: c.Layers, LogPath: c.LogPath, Mounts: c.Mounts, StdinOnce: c.StdinOnce,
		})
	}
	return nil
}

// Restore implements sandbox.ScratchRestorer.
func (s Scratch) Restore(ctx context.Context, path string, r io.Reader) (sandbox.Disk, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return sandbox.Disk{}, err
	}
	if err := s.call(ctx, "ScratchRestore"); err != nil {
		return sandbox.Disk{}, err
	}
	defer s.mu.Unlock()
	s.scratch[path] = int64(len(b))
	return sandbox.Disk{Path: path, Format: sandbox.DiskRaw}, nil
}
