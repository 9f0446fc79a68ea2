package qemuvm

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// testCommandLine is what the bundle's default kernel wants.
const testCommandLine = "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on psi=1 cryptomgr.notests lsm= audit=0 initcall_blacklist=crypto_kdf108_init"

// testUID is the first of those that QEMU runs as in tests, and their group: nobody in
// particular.
const testUID = 64055

func testUIDs(locks string) UIDs { return UIDs{Base: testUID, Count: 4, Locks: locks} }

// rig is what tests with real VMs share.
type rig struct {
	kernel, initrd string
	dir            string
	locks          string
}

// newRig skips the test when real VMs cannot run here.
func newRig(t testing.TB) *rig {
	t.Helper()
	testneed.Root(t)
	testneed.File(t, DefaultBinary, "/dev/net/tun")
	r := &rig{dir: t.TempDir(), locks: t.TempDir()}
	r.kernel, r.initrd = drivertest.Guest(t, r.dir)
	return r
}

func (r *rig) driver(t testing.TB, change func(*Config)) *Driver {
	t.Helper()
	c := Config{Accel: TCG, UIDs: testUIDs(r.locks), GID: testUID, CommandLine: testCommandLine}
	if change != nil {
		change(&c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (r *rig) config(id string) sandbox.VMConfig {
	return sandbox.VMConfig{ID: id, Dir: r.dir, VCPUs: 1, MemoryMiB: 256, Kernel: r.kernel, Initrd: r.initrd}
}

// boot starts a VM that is stopped when the test ends.
func (r *rig) boot(t testing.TB, d *Driver, id string) *VM {
	t.Helper()
	v, err := d.Create(t.Context(), r.config(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := v.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v.(*VM)
}

func TestBoot_Echo(t *testing.T) {
	r := newRig(t)
	begin := time.Now()
	v := r.boot(t, r.driver(t, nil), "boot-echo")
	t.Logf("started after %v", time.Since(begin))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c, err := v.Dial(ctx, wire.Echo)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Logf("agent answered after %v", time.Since(begin))
	go func() {
		_, _ = io.WriteString(c, "over the mux")
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "over the mux" {
		t.Errorf("echo = %q, %v", got, err)
	}
}

// BenchmarkBoot tells the time from spawning QEMU to an answer of the guest, and what it
// costs: CPU seconds are what to compare on a busy machine.
func BenchmarkBoot(b *testing.B) {
	r := newRig(b)
	d := r.driver(b, nil)
	var cpu float64
	for i := 0; b.Loop(); i++ {
		v := r.boot(b, d, "bench-"+strconv.Itoa(i))
		c, err := v.Dial(b.Context(), wire.Echo)
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
		cpu += cpuSeconds(b, v.PID())
		if err := v.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(cpu/float64(b.N), "cpu-s/op")
}

// BenchmarkAttachDetach hot-adds a disk and takes it away, as the host sees it.
func BenchmarkAttachDetach(b *testing.B) {
	r := newRig(b)
	v := r.boot(b, r.driver(b, nil), "bench-disk")
	if err := v.ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(r.dir, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		b.Fatal(err)
	}
	var attach time.Duration
	for b.Loop() {
		begin := time.Now()
		a, err := v.AttachDisk(b.Context(), sandbox.Disk{Path: path, Format: sandbox.DiskRaw, ReadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		attach += time.Since(begin)
		if err := v.DetachDisk(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(attach.Microseconds())/1000/float64(b.N), "attach-ms/op")
}

// BenchmarkIdle tells what a VM that does nothing costs: CPU and memory.
func BenchmarkIdle(b *testing.B) {
	r := newRig(b)
	v := r.boot(b, r.driver(b, nil), "bench-idle")
	if err := v.ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	const settle, watch = 3 * time.Second, 6 * time.Second
	<-time.After(settle)
	for b.Loop() {
		before := cpuSeconds(b, v.PID())
		<-time.After(watch)
		b.ReportMetric((cpuSeconds(b, v.PID())-before)/watch.Seconds()*100, "cpu-%")
	}
	rollup, err := os.ReadFile("/proc/" + strconv.Itoa(v.PID()) + "/smaps_rollup")
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(string(rollup), "\n") {
		if f := strings.Fields(line); len(f) == 3 && (f[0] == "Rss:" || f[0] == "Pss:") {
			kib, _ := strconv.ParseFloat(f[1], 64)
			b.ReportMetric(kib/1024, strings.ToLower(strings.TrimSuffix(f[0], ":"))+"-MiB")
		}
	}
}

// cpuSeconds is what a process has used so far, in whole ticks of 10 ms.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}
