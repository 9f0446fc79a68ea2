package qemuvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/atomicfile"
	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/internal/tame"
	"github.com/porthole-run/porthole/sandbox"
)

const kvmDevice = "/dev/kvm"

// DefaultProbeLimit bounds the trial of KVM. A guest that works answers in well under a
// second; one on a KVM that does not work burns CPU for ever.
const DefaultProbeLimit = 10 * time.Second

// Accel is the answer to the question what runs guests here.
type Accel struct {
	Accel  string    `json:"accel"`  // KVM or TCG
	Reason string    `json:"reason"` // one line, for people
	Tried  bool      `json:"tried"`  // a guest was booted to find out, now or before
	When   time.Time `json:"when"`   // of the trial, or of the question when none was needed
}

// ProbeConfig is what Probe works with.
type ProbeConfig struct {
	// Driver is the driver's config; its Accel is not looked at.
	Driver Config
	// Kernel and Initrd are what is booted: the guest bundle's.
	Kernel, Initrd string
	// Cache is the path of the file that remembers the answer. Empty: none does.
	Cache string
	// Limit bounds the trial. 0: DefaultProbeLimit.
	Limit time.Duration
	// Force tries again whatever Cache says.
	Force bool
}

// Probe finds out whether KVM works, by booting the guest with it until the agent
// answers. That the device opens is not enough: there are machines where it does and
// guests then hang. The answer is remembered as long as host kernel, CPU, QEMU, the
// guest with its command line, user and group stay the same. That KVM does not work is an answer, not an error;
// errors are those of asking.
func Probe(ctx context.Context, c ProbeConfig) (Accel, error) {
	a, err := (&prober{
		config:  c,
		device:  func() error { return kvmOpens(c.Driver.UIDs.Base, c.Driver.GID) },
		facts:   func(ctx context.Context) (facts, error) { return hostFacts(ctx, c) },
		trial:   func(ctx context.Context) error { return trial(ctx, c) },
		now:     time.Now,
		written: atomicfile.Write,
	}).probe(ctx)
	if err != nil {
		return Accel{}, fmt.Errorf("probe kvm: %w", err)
	}
	return a, nil
}

// prober is Probe with its view of the machine, so that tests give it another.
type prober struct {
	config  ProbeConfig
	device  func() error
	facts   func(context.Context) (facts, error)
	trial   func(context.Context) error
	now     func() time.Time
	written func(path string, b []byte, mode fs.FileMode) error
}

// facts are what an answer depends on.
type facts struct {
	HostKernel string `json:"hostKernel"`
	CPU        string `json:"cpu"`
	QEMU       string `json:"qemu"`
	Kernel     string `json:"kernel"` // SHA-256
	Initrd     string `json:"initrd"` // SHA-256
	Arguments  string `json:"arguments"`
	UID        uint32 `json:"uid"` // the first
	GID        uint32 `json:"gid"`
}

// record is the content of the cache file.
type record struct {
	Facts  facts `json:"facts"`
	Answer Accel `json:"answer"`
}

func (p *prober) probe(ctx context.Context) (Accel, error) {
	if err := p.device(); err != nil {
		return Accel{Accel: TCG, Reason: "kvm cannot be used: " + tame.Line(err.Error(), 200), When: p.now()}, nil
	}
	f, err := p.facts(ctx)
	if err != nil {
		return Accel{}, err
	}
	if a, ok := p.remembered(f); ok && !p.config.Force {
		return a, nil
	}
	limit := p.config.Limit
	if limit == 0 {
		limit = DefaultProbeLimit
	}
	tctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := p.now()
	err = p.trial(tctx)
	took := p.now().Sub(begin).Round(time.Millisecond)
	if ctx.Err() != nil {
		return Accel{}, ctx.Err() // we were told to stop: no answer
	}
	a := Accel{Accel: KVM, Reason: fmt.Sprintf("a guest answered in %v with kvm", took), Tried: true, When: begin}
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		a.Accel, a.Reason = TCG, fmt.Sprintf("/dev/kvm opens, but a guest did not answer within %v with kvm", limit)
	default:
		a.Accel, a.Reason = TCG, "/dev/kvm opens, but a guest did not start with kvm: "+tame.Line(firstLine(err.Error()), 200)
	}
	return a, p.remember(record{Facts: f, Answer: a})
}

func (p *prober) remembered(f facts) (Accel, bool) {
	if p.config.Cache == "" {
		return Accel{}, false
	}
	b, err := os.ReadFile(p.config.Cache)
	if err != nil {
		return Accel{}, false
	}
	var r record
	// What cannot be read is asked anew.
	if json.Unmarshal(b, &r) != nil || r.Facts != f || (r.Answer.Accel != KVM && r.Answer.Accel != TCG) {
		return Accel{}, false
	}
	return r.Answer, true
}

func (p *prober) remember(r record) error {
	if p.config.Cache == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := p.written(p.config.Cache, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("remember the answer: %w", err)
	}
	return nil
}

// trial boots the guest with KVM and waits for its agent.
func trial(ctx context.Context, c ProbeConfig) (err error) {
	c.Driver.Accel = KVM
	d, err := newDriver(c.Driver)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "porthole-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	vm, err := d.create(ctx, sandbox.VMConfig{
		ID: "probe-" + filepath.Base(dir), Dir: dir, VCPUs: 1, MemoryMiB: 256, Kernel: c.Kernel, Initrd: c.Initrd,
	}, source{})
	if err != nil {
		return err
	}
	defer func() {
		// A kill is all that Stop does: it needs no more than a moment.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, vm.Stop(ctx))
	}()
	if err := vm.Start(ctx); err != nil {
		return err
	}
	return vm.ready(ctx)
}

// ready waits until the agent has answered.
func (v *VM) ready(ctx context.Context) error {
	select {
	case <-v.linkReady:
		return nil
	case <-v.done:
		return v.goneError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kvmOpens says why QEMU could not open the device as its user.
func kvmOpens(uid, gid uint32) error {
	f, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_ = f.Close()
	if !mayUse(kvmDevice, uid, gid, kvmGroups()) {
		return fmt.Errorf("%s: uid %d may not open it: %w", kvmDevice, uid, errdefs.ErrPermissionDenied)
	}
	return nil
}

func hostFacts(ctx context.Context, c ProbeConfig) (facts, error) {
	binary := c.Driver.Binary
	if binary == "" {
		binary = DefaultBinary
	}
	version, err := qemuVersion(ctx, binary)
	if err != nil {
		return facts{}, err
	}
	kernel, err := filesum.SHA256(c.Kernel)
	if err != nil {
		return facts{}, fmt.Errorf("digest kernel: %w", err)
	}
	initrd, err := filesum.SHA256(c.Initrd)
	if err != nil {
		return facts{}, fmt.Errorf("digest initrd: %w", err)
	}
	cpu := "unknown"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		cpu = cpuModel(f)
		_ = f.Close()
	}
	return facts{
		HostKernel: hostKernel(), CPU: cpu, QEMU: version, Kernel: kernel, Initrd: initrd,
		Arguments: c.Driver.CommandLine, UID: c.Driver.UIDs.Base, GID: c.Driver.GID,
	}, nil
}

// qemuVersion is the first line that QEMU says of itself.
func qemuVersion(ctx context.Context, binary string) (string, error) {
	out, err := output(ctx, binary, "-version")
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", binary, err)
	}
	return tame.Line(firstLine(out), 120), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimRight(line, "\r")
}
