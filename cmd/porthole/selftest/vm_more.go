package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox"
)

// checkSocketTable makes a VM of whose agent's ports the table has one: the agent listens on
// all, so that what is refused is refused by the table.
func checkSocketTable(ctx context.Context, b *bench) verdict {
	g, err := b.boot(ctx, DriverOptions{Ports: []uint32{api.PortControl}}, guest.Connect)
	if err != nil {
		return notRun("%v", err)
	}
	defer g.end(context.WithoutCancel(ctx))
	if err := g.err(); err != nil {
		return fails("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.lab.Times.Refuse)
	defer cancel()
	conn, err := g.vm.Dial(ctx, api.PortStdio)
	if err == nil {
		_ = conn.Close()
		return fails("a port that is not in the table was dialled")
	}
	return holds("the table's port answers, another does not: %s", firstLine(err))
}

func checkLayer(ctx context.Context, b *bench) verdict {
	g, err := b.answering(ctx)
	if err != nil {
		return notRun("%v", err)
	}
	path := b.file(".vhd")
	if err := b.lab.Layer(path); err != nil {
		return notRun("make a layer: %v", err)
	}
	defer os.Remove(path)
	begin := time.Now()
	a, err := g.vm.AttachDisk(ctx, sandbox.Disk{Path: path, ReadOnly: true, Format: sandbox.DiskVHD})
	if err != nil {
		return fails("%v", err)
	}
	took := time.Since(begin)
	if err := g.vm.DetachDisk(ctx, a); err != nil {
		return fails("it was attached, and not detached: %v", err)
	}
	return holds("attached in %v", round(took))
}

// scratchBytes is the size of pods' scratch disks in checks.
const scratchBytes = 64 << 20

// checkOpenDisk attaches a disk as volumes are: its file is open here meanwhile.
func checkOpenDisk(ctx context.Context, b *bench) (v verdict) {
	g, err := b.answering(ctx)
	if err != nil {
		return notRun("%v", err)
	}
	path := b.file("")
	disk, err := b.lab.Scratch.Create(ctx, path, scratchBytes)
	if err != nil {
		return notRun("make a disk: %v", err)
	}
	defer func() {
		if err := b.lab.Scratch.Remove(context.WithoutCancel(ctx), path); err != nil && v.outcome == Holds {
			v = fails("once it was detached: %v", err)
		}
	}()
	f, err := os.Open(disk.Path)
	if err != nil {
		return notRun("open the disk: %v", err)
	}
	defer f.Close()
	a, err := g.vm.AttachDisk(ctx, disk)
	if err != nil {
		return fails("%v", err)
	}
	if err := g.vm.DetachDisk(ctx, a); err != nil {
		return fails("it was attached, and not detached: %v", err)
	}
	return holds("attached while it was open")
}

// lunsPerController is what a controller of Hyper-V has.
const lunsPerController = 64

// checkControllers fills the first controller, so that the pod's scratch disk is at the second:
// the guest finds it by that one's GUID, makes a file system on it and mounts it.
func checkControllers(ctx context.Context, b *bench) verdict {
	g, err := b.boot(ctx, DriverOptions{}, guest.Connect)
	if err != nil {
		return notRun("%v", err)
	}
	dir := filepath.Join(b.lab.Dir, b.name())
	defer os.RemoveAll(dir)
	defer g.end(context.WithoutCancel(ctx))
	if err := errors.Join(g.err(), os.Mkdir(dir, 0o700)); err != nil {
		return notRun("%v", err)
	}
	begin := time.Now()
	for n := range lunsPerController {
		path := filepath.Join(dir, fmt.Sprintf("%d.vhd", n))
		if err := b.lab.Layer(path); err != nil {
			return notRun("make a layer: %v", err)
		}
		if _, err := g.vm.AttachDisk(ctx, sandbox.Disk{Path: path, ReadOnly: true, Format: sandbox.DiskVHD}); err != nil {
			return fails("disk %d: %v", n, err)
		}
	}
	filled := time.Since(begin)
	scratch, err := b.lab.Scratch.Create(ctx, filepath.Join(dir, "scratch"), scratchBytes)
	if err != nil {
		return notRun("make a scratch disk: %v", err)
	}
	a, err := g.vm.AttachDisk(ctx, scratch)
	if err != nil {
		return fails("scratch disk: %v", err)
	}
	if a.Controller == 0 {
		return unclear("the scratch disk is at the first controller")
	}
	pod := strings.Repeat("5e1f", 8)
	if err := g.client.CreatePod(ctx, guest.Pod{ID: pod, Hostname: "selftest", Scratch: guest.DiskAddress(a)}); err != nil {
		return fails("the guest did not use the disk at controller %d, LUN %d: %v", a.Controller, a.LUN, err)
	}
	if err := g.client.RemovePod(ctx, pod); err != nil {
		return fails("the guest did not let go of the disk: %v", err)
	}
	return holds("%d disks attached in %v; the pod's disk was found at controller %d", lunsPerController, round(filled), a.Controller)
}

func checkSave(ctx context.Context, b *bench) verdict {
	g, err := b.boot(ctx, DriverOptions{}, guest.ConnectTemplate)
	if err != nil {
		return notRun("%v", err)
	}
	defer g.end(context.WithoutCancel(ctx))
	if err := g.err(); err != nil {
		return notRun("%v", err)
	}
	s, ok := g.vm.(sandbox.Saver)
	d, err := b.lab.Driver(DriverOptions{})
	r, can := d.(sandbox.Restorer)
	if err != nil || !ok || !can {
		return notRun("this driver does not save: %v", err)
	}
	_ = g.client.Close() // no stream outlives the saving
	path := b.file(".vmrs")
	defer os.Remove(path)
	begin := time.Now()
	state, err := s.SaveTo(ctx, path, func(context.Context) error { return nil })
	if err != nil {
		return fails("%v", err)
	}
	saved := time.Since(begin)
	// Its network, and what else may be one VM's at a time, is the restored one's then.
	g.end(ctx)
	c, err := b.config()
	if err != nil {
		return notRun("%v", err)
	}
	clone := &guestVM{config: c}
	begin = time.Now()
	if clone.vm, err = r.Restore(ctx, c, state, path); err != nil {
		return fails("saved in %v; %v", round(saved), err)
	}
	b.undo.Push("end VM "+c.ID, clone.end)
	defer clone.end(context.WithoutCancel(ctx))
	b.run(ctx, clone, guest.Connect)
	if err := clone.err(); err != nil {
		return fails("saved in %v, restored; %v", round(saved), err)
	}
	return holds("saved in %v; restored with another id, the agent answered after %v", round(saved), round(time.Since(begin)))
}
