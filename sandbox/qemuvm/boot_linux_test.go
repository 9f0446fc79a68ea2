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

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// testCommandLine is what the bundle's default kernel wants.
const testCommandLine = "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on cryptomgr.notests lsm= audit=0"

// testUID is who QEMU runs as in tests: nobody in particular.
const testUID = 64055

// rig is what tests with real VMs share.
type rig struct {
	kernel, initrd string
	dir            string
}

// newRig skips the test when real VMs cannot run here.
func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		drivertest.Skip(t, "root")
	}
	for _, f := range []string{DefaultBinary, "/dev/net/tun"} {
		if _, err := os.Stat(f); err != nil {
			drivertest.Skip(t, f)
		}
	}
	r := &rig{dir: t.TempDir()}
	r.kernel, r.initrd = drivertest.Guest(t, r.dir)
	return r
}

func (r *rig) driver(t testing.TB, change func(*Config)) *Driver {
	t.Helper()
	c := Config{Accel: TCG, UID: testUID, GID: testUID, CommandLine: testCommandLine}
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
	if d := os.Getenv("PORTHOLE_MEASURE"); d != "" {
		status, _ := os.ReadFile(filepath.Join("/proc", itoa(v.PID()), "status"))
		t.Log(strings.Join(strings.Split(string(status), "\n")[:12], "\n"))
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
