package qemuvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/console"
	"github.com/porthole-run/porthole/internal/tame"
	"github.com/porthole-run/porthole/sandbox/qemuvm/mux"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// firstFD is the first descriptor that a process gets from its parent beyond the
// standard three.
const firstFD = 3

// noMemory is what QEMU says when the host refuses it memory: the C library's words for ENOMEM,
// in the language of an empty environment.
const noMemory = "Cannot allocate memory"

// Start implements sandbox.VM. When it fails the VM has ended and holds nothing.
func (v *VM) Start(ctx context.Context) error {
	v.mu.Lock()
	if v.state != created {
		s := v.state
		v.mu.Unlock()
		return fmt.Errorf("start vm %s: vm is %s: %w", v.config.ID, s, errdefs.ErrFailedPrecondition)
	}
	v.state = starting
	v.mu.Unlock()

	if err := v.launch(ctx); err != nil {
		return fmt.Errorf("start vm %s: %w", v.config.ID, err)
	}
	return nil
}

func (v *VM) launch(ctx context.Context) error {
	p, err := v.spawn()
	if err != nil {
		v.mu.Lock()
		v.state, v.err = ended, fmt.Errorf("vm did not start: %w: %w", errdefs.ErrUnavailable, err)
		v.mu.Unlock()
		err = errors.Join(err, v.release())
		close(v.done)
		return err
	}
	v.res.closeGuestEnds(v.source.origin == restored)
	v.mu.Lock()
	v.proc = p
	if v.asked {
		p.kill()
	}
	v.mu.Unlock()
	go v.own(context.WithoutCancel(ctx), p)

	ctx, cancel := context.WithTimeout(ctx, v.driver.StartTimeout)
	defer cancel()
	if err := v.run(ctx); err != nil {
		v.kill(err)
		<-v.done
		if words := tailOf(p.stderr.Bytes(), 5); words != "" {
			err = fmt.Errorf("qemu says: %s: %w", words, err)
			if strings.Contains(words, noMemory) {
				err = fmt.Errorf("the host does not have the memory for a VM of %d MiB: %w: %w", v.config.MemoryMiB, errdefs.ErrResourceExhausted, err)
			}
		}
		return err
	}
	return nil
}

// spawn starts QEMU with the descriptors that the argument list refers to.
func (v *VM) spawn() (*process, error) {
	r := &v.res
	var files []*os.File
	pass := func(f *os.File) (fd int) {
		files = append(files, f)
		return firstFD + len(files) - 1
	}
	m := machine{
		origin:      v.source.origin,
		accel:       v.driver.Accel,
		vcpus:       v.config.VCPUs,
		memoryMiB:   v.config.MemoryMiB,
		commandLine: v.driver.CommandLine,
		qmpFD:       pass(r.qmp.guest),
		consoleFD:   pass(r.console.guest),
		tapFD:       pass(r.taps[0].File()),
		saved:       v.source.restored,
	}
	for _, tap := range r.taps[1:] {
		m.furtherTapFDs = append(m.furtherTapFDs, pass(tap.File()))
	}
	if m.origin != restored { // a restored one gets it later
		m.muxFD = pass(r.mux.guest)
	}
	if m.origin == booted || m.origin == saved {
		m.kernelFD, m.initrdFD = pass(r.kernel), pass(r.initrd)
	}
	if m.origin == saved || m.origin == cloned {
		m.memoryFD = pass(v.source.memory)
	}
	if m.accel == TCG {
		khz, err := HostTSC()
		if err != nil {
			// Boots may hang when the host is busy, but other CPUs than those
			// that print bogomips exist.
			v.driver.Log.Warn("frequency of the time stamp counter is not known", "error", err)
		}
		m.tscKHz = khz
	}
	c := command{
		path:  v.driver.Binary,
		args:  m.args(),
		files: files,
		uid:   r.user.uid,
		gid:   v.driver.GID,
	}
	if m.accel == KVM {
		c.groups = kvmGroups()
	}
	p, err := spawn(c)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", v.driver.Binary, err)
	}
	return p, nil
}

// run connects to QEMU and lets the guest go.
func (v *VM) run(ctx context.Context) error {
	monitor, err := qmp.New(ctx, fileConn{v.res.qmp.host}, v.event)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.monitor = monitor
	v.mu.Unlock()
	if v.source.origin == cloned || v.source.origin == restored {
		if err := v.load(ctx, monitor); err != nil {
			return err
		}
	}
	var begin []qmp.Command
	for i := range v.res.taps {
		begin = append(begin, setLink(i, false))
	}
	for _, r := range monitor.Do(ctx, append(begin, qmp.Command{Name: "cont"})...) {
		if r.Err != nil {
			return r.Err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state != starting {
		return fmt.Errorf("vm ended: %w", errdefs.ErrUnavailable)
	}
	v.state = running
	return nil
}

// own waits for all that belongs to the VM's run and closes done.
func (v *VM) own(ctx context.Context, p *process) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(v.console, v.res.console.host) })
	wg.Go(func() { v.connect(ctx, p.done) })

	select {
	case <-p.done:
	case <-v.portLost:
		t := time.NewTimer(lostGrace)
		select {
		case <-p.done:
		case <-t.C:
			v.kill(fmt.Errorf("guest closed its control port"))
		}
		t.Stop()
	}
	<-p.done

	v.mu.Lock()
	monitor := v.monitor
	v.mu.Unlock()
	if monitor != nil {
		// What QEMU said last is read before we judge.
		<-monitor.Done()
		_ = monitor.Close()
	}
	wg.Wait()

	err := v.verdict()
	if rerr := v.release(); rerr != nil {
		v.driver.Log.Warn("taps of an ended vm were not all removed", "vm", v.config.ID, "error", rerr)
	}
	v.mu.Lock()
	v.state, v.err = ended, err
	v.mu.Unlock()
	close(v.done)
}

// connect starts the mux when the guest has opened its port, and ends it with QEMU.
func (v *VM) connect(ctx context.Context, qemuDone <-chan struct{}) {
	select {
	case <-v.portOpen:
	case <-qemuDone:
		return
	}
	if v.source.origin == restored {
		if err := v.rejoin(ctx, qemuDone); err != nil {
			v.kill(err)
			return
		}
	}
	link, err := mux.New(v.res.mux.host)
	if err != nil {
		v.kill(err)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := link.Ready(); err != nil {
			return // the mux has ended, which is told below
		}
		v.mu.Lock()
		v.link = link
		v.mu.Unlock()
		close(v.linkReady)
	})
	select {
	case <-qemuDone:
	case <-link.Done():
		// EOF is QEMU's end; all else is the guest's doing.
		if err := link.Err(); err != nil {
			v.kill(fmt.Errorf("guest broke the mux protocol: %w", err))
		} else if !v.isHungUp() {
			v.lose()
		}
	}
	_ = link.Close()
	wg.Wait()
}

// lose notes, once, that nothing can be asked of the agent any more.
func (v *VM) lose() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.portLost:
	default:
		close(v.portLost)
	}
}

// event takes what QEMU tells. It runs on the monitor's reader.
func (v *VM) event(e qmp.Event) {
	var d struct {
		ID     string `json:"id"`
		Device string `json:"device"`
		Open   bool   `json:"open"`
		Reason string `json:"reason"`
		Status string `json:"status"`
	}
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &d) != nil {
		return
	}
	switch e.Name {
	case "VSERPORT_CHANGE":
		if d.ID != muxDevice {
			v.channels.changed(d.ID, d.Open)
			return
		}
		select {
		case <-v.portOpen:
			if !d.Open {
				v.lose()
			}
		default:
			if d.Open {
				close(v.portOpen)
			}
		}
	case "DEVICE_DELETED":
		v.disks.deleted(d.Device)
		v.channels.gone(d.Device)
	case "MIGRATION":
		switch d.Status {
		case migrationCompleted, "failed", "cancelled":
			select {
			case v.migrated <- d.Status:
			default: // nobody asked for a second one
			}
		}
	case "SHUTDOWN":
		v.mu.Lock()
		v.shutdown = tame.Line(d.Reason, 40)
		v.mu.Unlock()
	case "BLOCK_IO_ERROR":
		v.driver.Log.Warn("disk of a vm had an error", "vm", v.config.ID, "device", tame.Line(d.Device, 40))
	}
}

// HostTSC is the frequency of the host's time stamp counter in kHz.
func HostTSC() (int, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return tscKHz(f)
}

// tailOf is the end of what QEMU wrote to its standard error, on one line.
func tailOf(b []byte, lines int) string {
	return strings.Join(tame.Tail(b, lines, console.Columns), "; ")
}
