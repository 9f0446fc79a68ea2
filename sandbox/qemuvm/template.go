package qemuvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/console"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

var (
	_ sandbox.Cloner     = (*Driver)(nil)
	_ sandbox.TemplateVM = (*VM)(nil)
)

// maxStateBytes bounds a saved state without the memory: some 100 KiB are usual.
const maxStateBytes = 16 << 20

// migrationCompleted is how QEMU says that a state was saved or loaded.
const migrationCompleted = "completed"

// source is where a VM's content comes from. The zero value is the kernel.
type source struct {
	origin origin
	memory *os.File // of templates and clones; stays the caller's
	state  []byte   // of clones

	// Of restored ones, as is devices.
	file     *os.File // the state, with the memory
	restored savedDetail
	devices  sandbox.SavedVM
}

// check looks that a template's memory is that of a VM of this size.
func (s source) check(c sandbox.VMConfig) error {
	if s.origin == booted || s.origin == restored {
		return nil
	}
	if s.memory == nil {
		return fmt.Errorf("no file for the memory: %w", errdefs.ErrInvalidArgument)
	}
	st, err := s.memory.Stat()
	if err != nil {
		return fmt.Errorf("examine file of the memory: %w", err)
	}
	if want := int64(c.MemoryMiB) << 20; st.Size() != want {
		return fmt.Errorf("file of the memory has %d bytes, the VM %d: %w", st.Size(), want, errdefs.ErrInvalidArgument)
	}
	if s.origin == cloned && len(s.state) == 0 {
		return fmt.Errorf("template has no state: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// templateFormat is raised when templates of an earlier build are not for this one's
// clones, though QEMU and its arguments are the same.
const templateFormat = 1

// TemplateFacts names what a template depends on besides the size of the VM and the
// content of kernel, initrd and QEMU's program: QEMU's version and arguments, the host.
func (d *Driver) TemplateFacts(ctx context.Context) (string, error) {
	version, err := qemuVersion(ctx, d.config.Binary)
	if err != nil {
		return "", err
	}
	m := machine{origin: saved, accel: d.config.Accel, commandLine: d.config.CommandLine}
	if m.accel == TCG {
		m.tscKHz, _ = HostTSC() // not known: guests are not told
	}
	return fmt.Sprintf("format %d, host %s, %s: %q", templateFormat, hostKernel(), version, m.args()), nil
}

// Binary is the path of QEMU's program.
func (d *Driver) Binary() string { return d.config.Binary }

// CreateTemplate implements sandbox.Cloner.
func (d *Driver) CreateTemplate(ctx context.Context, c sandbox.VMConfig, memory *os.File) (sandbox.TemplateVM, error) {
	v, err := d.create(ctx, c, source{origin: saved, memory: memory})
	if err != nil {
		return nil, fmt.Errorf("create template vm %s: %w", c.ID, err)
	}
	return v, nil
}

// Clone implements sandbox.Cloner. QEMU opens the memory again through /proc, as its own
// user, for reading and writing: the file has to let it, and a seal to keep it from
// writing.
func (d *Driver) Clone(ctx context.Context, c sandbox.VMConfig, t sandbox.Template) (sandbox.VM, error) {
	v, err := d.create(ctx, c, source{origin: cloned, memory: t.Memory, state: t.State})
	if err == nil {
		if err = v.setWaiting(t.Scratch); err != nil {
			err = errors.Join(err, v.release())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("clone vm %s: %w", c.ID, err)
	}
	return v, nil
}

// Save implements sandbox.TemplateVM. It waits for the agent's word that its session is
// over (docs/wire.md): a clone must not begin within it.
func (v *VM) Save(ctx context.Context, state io.Writer) error {
	if err := v.save(ctx, state); err != nil {
		return fmt.Errorf("save vm %s: %w", v.config.ID, err)
	}
	return nil
}

func (v *VM) save(ctx context.Context, state io.Writer) error {
	if v.source.origin != saved {
		return fmt.Errorf("vm was not made to be a template: %w", errdefs.ErrFailedPrecondition)
	}
	client, err := v.client()
	if err != nil {
		return err
	}
	if err := v.ready(ctx); err != nil {
		return err
	}
	if err := v.disks.checkTemplate(); err != nil {
		return err
	}
	v.mu.Lock()
	v.hungUp = true
	link := v.link
	v.mu.Unlock()
	_ = link.Close()
	if err := v.console.Await(ctx, api.HostGone); err != nil {
		return fmt.Errorf("wait for the agent to be alone: %w\n%s", err, console.Tail(v.Console()))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	copied := make(chan error, 1)
	go func() {
		n, err := io.Copy(state, io.LimitReader(r, maxStateBytes+1))
		if err == nil && n > maxStateBytes {
			err = fmt.Errorf("state is longer than %d bytes: %w", maxStateBytes, errdefs.ErrResourceExhausted)
		}
		_ = r.Close() // QEMU may still write
		copied <- err
	}()
	err = v.migrate(ctx, client, w, qmp.Command{Name: "stop"}, setUpMigration, takeState(w), qmp.Command{
		Name: "migrate", Args: map[string]any{"uri": "fd:" + stateFD},
	})
	if err != nil {
		_ = r.Close()
	}
	if cerr := <-copied; err == nil && cerr != nil {
		err = fmt.Errorf("take state: %w", cerr)
	}
	return v.orGone(err)
}

// load gives a new QEMU the state of the template, or of the VM that was saved. A QEMU that
// cannot load it ends.
func (v *VM) load(ctx context.Context, client *qmp.Client) error {
	if err := v.plugWaiting(ctx, client); err != nil {
		return err
	}
	what, setUp, state := "template", setUpMigration, io.Reader(bytes.NewReader(v.source.state))
	if v.source.origin == restored {
		if err := v.plugSaved(ctx, client); err != nil {
			return err
		}
		what, setUp, state = "saved state", setUpFullMigration, v.source.file
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		// When it fails, QEMU has not read all: that it could not load is told by migrate.
		_, _ = io.Copy(w, state)
		_ = w.Close()
	}()
	err = v.migrate(ctx, client, r, setUp, takeState(r), qmp.Command{
		Name: "migrate-incoming", Args: map[string]any{"uri": "fd:" + stateFD},
	})
	if err != nil {
		_ = w.Close()
	}
	<-fed
	v.source.state = nil
	if err != nil {
		return fmt.Errorf("load %s: %w", what, err)
	}
	return nil
}

// stateFD is the name in QEMU of the pipe that a state goes through.
const stateFD = "state"

// setUpMigration leaves memory out, as it is in a file, and has the end told.
var setUpMigration = qmp.Command{Name: "migrate-set-capabilities", Args: map[string]any{
	"capabilities": []map[string]any{
		{"capability": "x-ignore-shared", "state": true},
		{"capability": "events", "state": true},
	},
}}

func takeState(f *os.File) qmp.Command {
	return qmp.Command{Name: "getfd", Args: map[string]any{"fdname": stateFD}, File: f}
}

// migrate runs commands of which the last begins to save or load a state, closes pipe, of
// which QEMU has a copy then, and waits for the end.
func (v *VM) migrate(ctx context.Context, client *qmp.Client, pipe *os.File, cmds ...qmp.Command) error {
	results := client.Do(ctx, cmds...)
	_ = pipe.Close()
	for _, r := range results {
		if r.Err != nil {
			return r.Err // those that follow it failed because of it
		}
	}
	select {
	case status := <-v.migrated:
		if status != migrationCompleted {
			return fmt.Errorf("migration %s: %w", status, errdefs.ErrInternal)
		}
		return nil
	case <-client.Done():
		return client.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *VM) isHungUp() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hungUp
}
