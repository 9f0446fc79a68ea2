package qemuvm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// template boots a VM, saves it, and seals its memory.
func (r *rig) template(t testing.TB, d *Driver) sandbox.Template {
	t.Helper()
	return r.templateWith(t, d, nil)
}

// templateWith is template for one that has a disk.
func (r *rig) templateWith(t testing.TB, d *Driver, scratch *os.File) sandbox.Template {
	t.Helper()
	c := r.config("template")
	memory, err := memfile.New("template", int64(c.MemoryMiB)<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { memory.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v, err := d.CreateTemplate(ctx, c, memory)
	if err != nil {
		t.Fatal(err)
	}
	defer stopVM(t, v)
	if err := v.Start(ctx); err != nil {
		t.Fatal(err)
	}
	echo(t, v, "before the template")
	if scratch != nil {
		if _, err := v.AttachDisk(ctx, sandbox.Disk{Path: fmt.Sprintf("/proc/self/fd/%d", scratch.Fd()), Format: sandbox.DiskRaw}); err != nil {
			t.Fatal(err)
		}
	}
	var state bytes.Buffer
	if err := v.Save(ctx, &state); err != nil {
		t.Fatal(err)
	}
	if err := memfile.Seal(memory); err == nil {
		t.Error("memory was sealed while the VM has it")
	}
	stopVM(t, v)
	if err := memfile.Seal(memory); err != nil {
		t.Fatal(err)
	}
	return sandbox.Template{Memory: memory, State: state.Bytes(), Scratch: scratch}
}

func stopVM(t testing.TB, v sandbox.VM) {
	t.Helper()
	if err := v.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// echo sends a word through the guest and back.
func echo(t testing.TB, v sandbox.VM, word string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := v.Dial(ctx, wire.Echo)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	if err := c.(drivertest.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != word {
		t.Fatalf("echo of %q = %q, %v", word, got, err)
	}
}

// digest is the SHA-256 of a file's content, wherever its offset is.
func digest(t testing.TB, f *os.File) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<40)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// cloner is a Driver whose VMs are clones.
type cloner struct {
	*Driver
	template sandbox.Template
}

func (c cloner) Create(ctx context.Context, v sandbox.VMConfig) (sandbox.VM, error) {
	return c.Clone(ctx, v, c.template)
}

// TestClone_Suite runs the driver suite with clones: they can all that VMs can that
// booted, they leave nothing, and they do not change the template.
func TestClone_Suite(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	template := r.template(t, d)
	if n, err := memfile.Allocated(template.Memory); err != nil || n == 0 {
		t.Errorf("Allocated() = %d, %v", n, err)
	} else {
		t.Logf("state of %d bytes, memory of %d MiB", len(template.State), n>>20)
	}
	before, content := r.left(t), digest(t, template.Memory)
	drivertest.Suite(t, drivertest.Env{
		Driver: cloner{d, template},
		Clones: true,
		Config: func(t *testing.T, id string) sandbox.VMConfig { return r.config(id) },
		NIC:    podNetwork,
		Left:   r.leftSince(before),
	})
	if digest(t, template.Memory) != content {
		t.Error("clones have changed the template's memory")
	}
}

// TestClone_Many starts clones side by side, and one after the other, and looks at what
// QEMU could do to the template.
func TestClone_Many(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	template := r.template(t, d)
	content := digest(t, template.Memory)
	before := r.left(t)
	var vms []sandbox.VM
	for i := range 3 {
		begin := time.Now()
		v, err := d.Clone(t.Context(), r.config("clone-"+strconv.Itoa(i)), template)
		if err != nil {
			t.Fatal(err)
		}
		vms = append(vms, v)
		t.Cleanup(func() { stopVM(t, v) })
		if err := v.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		runs := time.Since(begin)
		echo(t, v, fmt.Sprint("clone ", i))
		t.Logf("clone %d runs after %v, answers after %v", i, runs, time.Since(begin))
	}
	for i, v := range vms {
		echo(t, v, fmt.Sprint("again ", i))
		smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", v.(*VM).PID()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(smaps)) {
			if strings.Contains(line, "/memfd:template") && !strings.Contains(line, " rw-p ") {
				t.Errorf("qemu maps the template otherwise than privately: %s", line)
			}
		}
	}
	for _, v := range vms {
		stopVM(t, v)
	}
	r.wantLeft(t, before)
	if digest(t, template.Memory) != content {
		t.Error("clones have changed the template's memory")
	}
}

// TestClone_BrokenTemplate: what QEMU cannot load is an error of Start, soon, and leaves
// nothing.
func TestClone_BrokenTemplate(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	good := r.template(t, d)
	before := r.left(t)
	broken := func(change func([]byte) []byte) sandbox.Template {
		return sandbox.Template{Memory: good.Memory, State: change(bytes.Clone(good.State))}
	}
	for name, template := range map[string]sandbox.Template{
		"cut":     broken(func(b []byte) []byte { return b[:len(b)/2] }),
		"short":   broken(func(b []byte) []byte { return b[:3] }),
		"garbage": broken(func(b []byte) []byte { return bytes.Repeat([]byte{0xa5}, len(b)) }),
	} {
		t.Run(name, func(t *testing.T) {
			v, err := d.Clone(t.Context(), r.config("broken"), template)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = v.Start(ctx)
			if err == nil || ctx.Err() != nil {
				t.Errorf("Start() = %v, want what QEMU says of the state", err)
			}
			t.Log(err)
			r.wantEnd(t, v, before)
		})
	}
	larger := r.config("larger")
	larger.MemoryMiB *= 2
	if _, err := d.Clone(t.Context(), larger, good); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Clone() of another size = %v, want InvalidArgument", err)
	}
	r.wantLeft(t, before)
}

// TestSave_NotATemplate: a VM that booted for itself is not saved, and goes on.
func TestSave_NotATemplate(t *testing.T) {
	r := newRig(t)
	v := r.boot(t, r.driver(t, nil), "plain")
	if err := v.Save(t.Context(), io.Discard); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Save() = %v, want FailedPrecondition", err)
	}
	echo(t, v, "still there")
}
