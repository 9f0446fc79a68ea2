package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
)

const (
	qemuUID     = 64055 // the first, and the group: nobody in particular
	commandLine = "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on cryptomgr.notests lsm= audit=0 initcall_blacklist=crypto_kdf108_init"
)

func init() {
	qemuDriver = func(locks string, log *slog.Logger) (sandbox.Driver, error) {
		uids := qemuvm.UIDs{Base: qemuUID, Count: 4, Locks: locks}
		return qemuvm.New(qemuvm.Config{Accel: qemuvm.TCG, UIDs: uids, GID: qemuUID, CommandLine: commandLine, Log: log})
	}
}

// launchVM launches a shim with a real VM, or skips the test where that cannot run.
func launchVM(t *testing.T) (context.Context, *Launcher, *Client) {
	t.Helper()
	testneed.Root(t)
	testneed.File(t, qemuvm.DefaultBinary, "/dev/net/tun", "/bin/busybox", "/sbin/mkfs.ext4")
	kernel, initrd := drivertest.Bundle(t)
	l := newTestLauncher(t, testSettings{QEMU: t.TempDir()})
	l.config.Kernel, l.config.Initrd, l.config.StartTimeout = kernel, initrd, time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	s, err := l.Launch(ctx, sandbox.ShimConfig{ID: "vm1", VCPUs: 1, MemoryMiB: 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(context.WithoutCancel(ctx)) })
	return ctx, l, s.(*Client)
}

// setupRealPod makes a pod with a blank scratch disk in dir.
func setupRealPod(ctx context.Context, t *testing.T, s sandbox.Shim, dir string) {
	t.Helper()
	scratch := filepath.Join(dir, "scratch")
	if err := os.WriteFile(scratch, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(scratch, 256<<20); err != nil {
		t.Fatal(err)
	}
	if err := s.SetupPod(ctx, sandbox.PodSetup{
		PodID: "pod1", Hostname: "porthole", Scratch: sandbox.Disk{Path: scratch, Format: sandbox.DiskRaw},
		Hosts: "127.0.0.1 localhost\n",
	}); err != nil {
		t.Fatal(err)
	}
}

// TestQEMU runs a container in a real VM: shim process, QEMU, agent.
func TestQEMU(t *testing.T) {
	begin := time.Now()
	ctx, l, s := launchVM(t)
	dir := shortDir(t)
	t.Logf("launched in %s: %+v", time.Since(begin), s.Info())
	lap := func(what string) { t.Logf("%s after %s", what, time.Since(begin)) }

	setupRealPod(ctx, t, s, dir)
	lap("pod is set up")

	log := filepath.Join(dir, "c.log")
	setup := sandbox.ContainerSetup{
		PodID: "pod1", ContainerID: "c1", LogPath: log, Stdin: true,
		Layers: []sandbox.Layer{{DiffID: "sha256:busybox", Path: busyboxLayer(t, dir)}},
		Spec:   busyboxSpec(t, "echo ready; echo oops >&2; while read l; do echo \"got $l\"; [ \"$l\" = bye ] && exit 7; done"),
	}
	created, err := s.CreateContainer(ctx, setup)
	if err != nil {
		t.Fatal(err)
	}
	lap("container is created")
	if _, err := s.StartContainer(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	lap("container is started")
	t.Logf("%+v", created)

	var out, errOut bytes.Buffer
	code, err := s.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"/bin/busybox", "sh", "-c", "cat; hostname; echo e >&2; exit 3"}},
		sandbox.Streams{Stdin: strings.NewReader("from stdin\n"), Stdout: &out, Stderr: &errOut})
	if err != nil || code != 3 || out.String() != "from stdin\nporthole\n" || errOut.String() != "e\n" {
		t.Errorf("Exec = %d, %v, %q, %q", code, err, &out, &errOut)
	}
	lap("exec is over")
	t.Logf("shim's memory: %s", lineOf("/proc/"+strconv.Itoa(s.Info().PID)+"/status", "VmRSS:"))
	out.Reset()
	sizes := make(chan sandbox.Size, 1)
	sizes <- sandbox.Size{Width: 91, Height: 33}
	code, err = s.Exec(ctx, "c1", sandbox.ExecSpec{Terminal: true, Args: []string{"/bin/busybox", "sh", "-c", "while [ \"$(stty size)\" != '33 91' ]; do usleep 50000; done; stty size"}},
		sandbox.Streams{Stdout: &out, Resize: sizes})
	if err != nil || code != 0 || !strings.Contains(out.String(), "33 91") {
		t.Errorf("Exec with a terminal = %d, %v, %q", code, err, &out)
	}
	xctx, xcancel := context.WithTimeout(ctx, time.Second)
	if _, err := s.Exec(xctx, "c1", sandbox.ExecSpec{Args: []string{"/bin/busybox", "sleep", "1000"}}, sandbox.Streams{Stdout: io.Discard}); err == nil {
		t.Error("an exec outlived its context")
	}
	xcancel()

	seen, seenW := io.Pipe()
	attached := make(chan error, 1)
	go func() {
		attached <- s.Attach(ctx, "c1", sandbox.Streams{Stdin: strings.NewReader("hello\nbye\n"), Stdout: seenW})
		seenW.Close()
	}()
	b, err := io.ReadAll(seen)
	if err != nil || string(b) != "got hello\ngot bye\n" {
		t.Errorf("attached client saw %q, %v", b, err)
	}
	if err := <-attached; err != nil {
		t.Errorf("Attach = %v", err)
	}
	if exit, err := s.Wait(ctx, "c1"); err != nil || exit.Code != 7 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	lap("container has exited")
	b, err = os.ReadFile(log)
	for _, want := range []string{" stdout F ready\n", " stderr F oops\n", " stdout F got bye\n"} {
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("log lacks %q: %q, %v", want, b, err)
		}
	}
	if err := s.RemoveContainer(ctx, "c1"); err != nil {
		t.Error(err)
	}
	lap("container is removed")
	setup.ContainerID, setup.Stdin = "c2", false // the layer's disk comes again
	setup.Spec = busyboxSpec(t, "exec sleep 1000")
	if _, err := s.CreateContainer(ctx, setup); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartContainer(ctx, "c2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(ctx, "c2", 9, false); err != nil {
		t.Error(err)
	}
	if exit, err := s.Wait(ctx, "c2"); err != nil || exit.Code != 137 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	if err := s.RemovePod(ctx, "pod1"); err != nil {
		t.Error(err)
	}
	lap("pod is removed")
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	lap("shim is gone")
	if vm := s.procs.VM; vm.PID == 0 || vm.alive() {
		t.Errorf("VM process %+v is still there", vm)
	}
	checkEmpty(t, l)
}

// TestQEMU_ShimKilled checks that a VM ends with its shim, however that ends.
func TestQEMU_ShimKilled(t *testing.T) {
	ctx, l, c := launchVM(t)
	if err := c.procs.Shim.signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if !waitFor(ctx, c.procs.VM, killedWait) {
		t.Error("the VM outlived its shim")
	}
	if _, err := l.Open(ctx, "vm1"); !errdefs.IsNotFound(err) {
		t.Errorf("Open = %v", err)
	}
	checkEmpty(t, l)
}

// TestQEMU_Panic checks that the daemon learns of a guest's panic, with its console.
func TestQEMU_Panic(t *testing.T) {
	ctx, l, c := launchVM(t)
	dir := shortDir(t)
	setupRealPod(ctx, t, c, dir)
	if _, err := c.CreateContainer(ctx, sandbox.ContainerSetup{
		PodID: "pod1", ContainerID: "c1",
		Layers: []sandbox.Layer{{DiffID: "sha256:busybox", Path: busyboxLayer(t, dir)}},
		Spec:   busyboxSpec(t, "echo c > /proc/sysrq-trigger; sleep 1000"),
	}); err != nil {
		t.Fatal(err)
	}
	c.StartContainer(ctx, "c1") // may see the guest vanish
	if _, err := c.Wait(ctx, "c1"); !errdefs.IsUnavailable(err) {
		t.Errorf("Wait = %v", err)
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		t.Fatal("the client did not learn that the VM has ended")
	}
	if err := c.Err(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("Err = %v", err)
	}
	if err := c.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	checkEmpty(t, l)
}

// lineOf returns the line of a file that begins with a word.
func lineOf(path, word string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// busyboxLayer makes a layer disk that holds busybox: an ext4 image and a VHD's footer.
func busyboxLayer(t *testing.T, dir string) string {
	t.Helper()
	disk, path := filepath.Join(dir, "disk"), filepath.Join(dir, "layer.vhd")
	root := filepath.Join(disk, api.LayerRoot)
	for _, d := range []string{"bin", "proc", "dev", "sys", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "hostname", "stty", "usleep", "sleep"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("/sbin/mkfs.ext4", "-q", "-d", disk, path, "16M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tar2ext4.ConvertToVhd(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func busyboxSpec(t *testing.T, script string) []byte {
	t.Helper()
	b, err := json.Marshal(specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}},
		Linux:   &specs.Linux{},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
