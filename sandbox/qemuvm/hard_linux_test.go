package qemuvm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/network/tapnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// helperVariable makes the test binary a process that owns a VM, for TestStart_OwnerKilled.
const helperVariable = "QEMUVM_TEST_OWNER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(helperVariable); spec != "" {
		if err := ownVM(spec); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// ownVM starts a VM, prints QEMU's process id and waits to be killed.
func ownVM(spec string) error {
	f := strings.Split(spec, ",")
	d, err := New(Config{Accel: TCG, UIDs: testUIDs(f[4]), GID: testUID, CommandLine: testCommandLine})
	if err != nil {
		return err
	}
	vm, err := d.Create(context.Background(), sandbox.VMConfig{
		ID: f[0], Dir: f[1], VCPUs: 1, MemoryMiB: 128, Kernel: f[2], Initrd: f[3],
	})
	if err != nil {
		return err
	}
	if err := vm.Start(context.Background()); err != nil {
		return err
	}
	fmt.Println("pid", vm.(*VM).PID())
	<-vm.Done()
	return vm.Err()
}

func TestStart_OwnerKilled(t *testing.T) {
	r := newRig(t)
	id := fmt.Sprintf("owned-%d", os.Getpid())
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), helperVariable+"="+strings.Join([]string{id, r.dir, r.kernel, r.initrd, r.locks}, ","))
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "pid ") {
		_ = owner.Process.Kill()
		t.Fatalf("owner says %q, %v", line, err)
	}
	pid := strings.TrimSpace(strings.TrimPrefix(line, "pid "))
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatal(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	eventually(t, 10*time.Second, func() error {
		// A zombie holds nothing; whoever adopted it reaps it.
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("qemu %s lives on", pid)
		}
		if _, err := netlink.LinkByName(tapnet.Name(id)); err == nil {
			return fmt.Errorf("tap of %s is there", id)
		}
		u := testUIDs(r.locks)
		u.Count = 1
		left, err := u.take()
		left.giveBack()
		return err
	})
}

// eventually waits until check is content.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(within)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}

// TestProbe_Real asks about this machine's KVM, whatever that is: the answer comes within
// the bound, and no QEMU is left.
func TestProbe_Real(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	c := ProbeConfig{
		// Root's right to the device, so that one with a mode for root only is tried too.
		Driver: Config{CommandLine: testCommandLine},
		Kernel: r.kernel, Initrd: r.initrd,
		Cache: t.TempDir() + "/kvm.json",
		Limit: 3 * time.Second,
	}
	begin := time.Now()
	a, err := Probe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s after %v: %s", a.Accel, time.Since(begin), a.Reason)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Probe took %v", took)
	}
	r.wantLeft(t, before)
	again, err := Probe(t.Context(), c)
	if err != nil || again.Accel != a.Accel || (a.Tried && !again.When.Equal(a.When)) {
		t.Errorf("second Probe() = %+v, %v, want the first's %+v", again, err, a)
	}
}

func TestDriver_Check(t *testing.T) {
	r := newRig(t)
	for _, f := range r.driver(t, nil).Check(t.Context()) {
		if !f.OK {
			t.Errorf("%s: %s (%s)", f.Name, f.Detail, f.Fix)
		}
	}
	for _, f := range r.driver(t, func(c *Config) { c.Binary = "/nonexistent/qemu" }).Check(t.Context()) {
		if f.Name == "qemu" && (f.OK || f.Fix == "") {
			t.Errorf("a missing binary is found to be %+v", f)
		}
	}
}

// TestStart_NoMemory starts a QEMU that is refused its guest's memory, as the host does for more
// than it has.
func TestStart_NoMemory(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	const words = "qemu: cannot set up guest memory 'ram': Cannot allocate memory"
	for says, want := range map[string]func(error) bool{
		words:                         errdefs.IsResourceExhausted,
		"qemu: something else failed": errdefs.IsUnavailable,
	} {
		// Where the VM's user may run it.
		path := filepath.Join("/run", fmt.Sprintf("qemu-test-%d", os.Getpid()))
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho \""+says+"\" >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
		v, err := r.driver(t, func(c *Config) { c.Binary = path }).Create(t.Context(), r.config("large"))
		if err != nil {
			t.Fatal(err)
		}
		err = v.Start(t.Context())
		if !want(errdefs.Resolve(err)) || !strings.Contains(err.Error(), says) {
			t.Errorf("Start() = %v, want QEMU's words %q and another kind", err, says)
		}
		if errdefs.IsResourceExhausted(err) != strings.Contains(err.Error(), "memory for a VM of 256 MiB") {
			t.Errorf("Start() = %v, want the size if it was too large", err)
		}
		r.wantEnd(t, v.(*VM), before)
	}
}

// TestStop_PodNamespaceDeleted stops a VM whose pod namespace went away with its tap.
func TestStop_PodNamespaceDeleted(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	v := r.boot(t, r.driver(t, nil), "orphan")
	t.Run("pod", func(t *testing.T) {
		n, _, _ := podNetwork(t)
		if _, err := v.AttachNIC(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}) // the namespace is deleted here
	if err := v.DetachNIC(t.Context(), "eth0"); err != nil {
		t.Errorf("DetachNIC() after the namespace is gone = %v", err)
	}
	r.wantEnd(t, v, before)
}

// TestBoot_UnderLoad boots 50 guests while six busy loops run: without tsc_early_khz
// none would come up under emulation.
func TestBoot_UnderLoad(t *testing.T) {
	testneed.Long(t)
	r := newRig(t)
	for range 6 {
		loop := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		})
	}
	d := r.driver(t, nil)
	var took []time.Duration
	for i := range 50 {
		begin := time.Now()
		v := r.boot(t, d, "load-"+strconv.Itoa(i))
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		c, err := v.Dial(ctx, wire.Echo)
		cancel()
		if err != nil {
			t.Fatalf("boot %d: %v", i, err)
		}
		took = append(took, time.Since(begin))
		_ = c.Close()
		if err := v.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	t.Logf("50 of 50 boots: median %v, p95 %v, longest %v", took[25], took[47], took[49])
}

// TestAttachDisk_StepFails takes each name that attaching uses away from it, so that
// QEMU refuses there: nothing is left, and the next attempt works.
func TestAttachDisk_StepFails(t *testing.T) {
	r := newRig(t)
	v := r.boot(t, r.driver(t, nil), "steps")
	client, err := v.client()
	if err != nil {
		t.Fatal(err)
	}
	nodes := func() string {
		b, err := client.Run(t.Context(), "query-named-block-nodes", map[string]any{"flat": true})
		if err != nil {
			t.Fatal(err)
		}
		fds, err := client.Run(t.Context(), "query-fdsets", nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + string(fds)
	}
	before := nodes()
	path := r.dir + "/disk"
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	disk := sandbox.Disk{Path: path, Format: sandbox.DiskRaw}
	for _, name := range []string{namesOf(0).file, namesOf(1).data} {
		taken := map[string]any{"driver": "null-co", "node-name": name}
		if _, err := client.Run(t.Context(), "blockdev-add", taken); err != nil {
			t.Fatal(err)
		}
		if a, err := v.AttachDisk(t.Context(), disk); err == nil {
			t.Errorf("AttachDisk() with %s taken = %+v", name, a)
		}
		if got := nodes(); got != before {
			t.Errorf("left in qemu after %s was taken:\n%s", name, got)
		}
	}
	a, err := v.AttachDisk(t.Context(), disk)
	if err != nil || a.LUN != 2 {
		t.Fatalf("AttachDisk() after failures = %+v, %v, want LUN 2", a, err)
	}
	if err := v.DetachDisk(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := nodes(); got != before {
		t.Errorf("left in qemu after DetachDisk:\n%s", got)
	}
}
