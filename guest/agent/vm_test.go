//go:build linux

package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/hashicorp/yamux"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/guest/image/cpio"
	"github.com/porthole-run/porthole/internal/testneed"
)

// bundleVar names the folder of a guest bundle, whose /init is replaced by the agent
// of this tree.
const bundleVar = "PORTHOLE_GUEST"

// need returns what a test in a real VM needs, or skips. A strict run does not skip.
func need(t *testing.T) (bundle, busybox string) {
	t.Helper()
	bundle = os.Getenv(bundleVar)
	if _, err := os.Stat(filepath.Join(bundle, "initrd")); bundle == "" || err != nil {
		testneed.Skip(t, "a guest bundle: set %s", bundleVar)
	}
	testneed.Program(t, "qemu-system-x86_64", "mke2fs", "busybox")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return bundle, busybox
}

// vm is a booted guest and a greeted control connection.
type vm struct {
	t       *testing.T
	mux     *yamux.Session
	client  api.GuestClient
	console *syncBuffer
	sock    string
	nextID  uint64
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// layer makes an ext4 image with busybox and passwd files.
func layer(t *testing.T, dir, busybox string) string {
	t.Helper()
	disk := filepath.Join(dir, "disk")
	tree := filepath.Join(disk, api.LayerRoot)
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"bin/busybox": b,
		"etc/passwd":  []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\napp:x:1000:\nvideo:x:44:app\n"),
	} {
		if err := os.WriteFile(filepath.Join(tree, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range []string{"sh", "cat", "echo", "true", "id", "stty", "sleep", "tail", "dd", "nc", "hostname", "ip", "ps", "mount", "readlink", "ls"} {
		if err := os.Symlink("busybox", filepath.Join(tree, "bin", cmd)); err != nil {
			t.Fatal(err)
		}
	}
	img := filepath.Join(dir, "layer.img")
	run(t, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", disk, img, "16M")
	return img
}

// initrd appends the agent to a bundle's initrd: a later archive's files win.
func initrd(t *testing.T, dir, bundle string) string {
	t.Helper()
	bin := filepath.Join(dir, "agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/porthole-run/porthole/cmd/porthole-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(filepath.Join(bundle, "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.Write(base)
	out.Write(make([]byte, (4-len(base)%4)%4))
	if err := cpio.Write(&out, []cpio.Entry{{Name: "init", Mode: cpio.TypeFile | 0o755, Body: b}}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "initrd")
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// tscKHz returns the host's TSC frequency: without it on the command line a loaded TCG
// machine fails to calibrate its clock.
func tscKHz(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`bogomips\s*:\s*([0-9.]+)`).FindSubmatch(b)
	if m == nil {
		return ""
	}
	mips, _ := strconv.ParseFloat(string(m[1]), 64)
	return fmt.Sprintf("tsc_early_khz=%d", int(mips/2*1000))
}

// boot boots a guest with a scratch disk at LUN 0, the layer at LUN 1 and a NIC.
func boot(t *testing.T) *vm {
	bundle, busybox := need(t)
	dir := t.TempDir()
	scratch := filepath.Join(dir, "scratch.img")
	if err := os.WriteFile(scratch, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(scratch, 1<<30); err != nil {
		t.Fatal(err)
	}
	ird, img := initrd(t, dir, bundle), layer(t, dir, busybox)
	sock := filepath.Join(dir, "mux")
	v := &vm{t: t, console: &syncBuffer{}, sock: sock}
	start := time.Now()
	cmd := exec.Command("qemu-system-x86_64", "-M", "microvm,pit=off,pic=off,rtc=on,accel=tcg", "-cpu", "max", "-m", "512",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", filepath.Join(bundle, "vmlinux"), "-initrd", ird,
		"-append", "console=ttyS0 quiet reboot=t panic=-1 cryptomgr.notests audit=0 "+tscKHz(t),
		"-device", "virtio-serial-device", "-chardev", "socket,id=mux,server=on,wait=off,path="+sock,
		"-device", "virtserialport,chardev=mux,name="+api.SerialPort,
		"-device", "virtio-scsi-device,id=s",
		"-drive", "if=none,id=d0,format=raw,file="+scratch, "-device", "scsi-hd,drive=d0,bus=s.0,scsi-id=0,lun=0",
		"-drive", "if=none,id=d1,format=raw,readonly=on,file="+img, "-device", "scsi-hd,drive=d1,bus=s.0,scsi-id=0,lun=1",
		"-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-device,netdev=n0,mac=52:54:00:12:34:56")
	cmd.Stdout, cmd.Stderr = v.console, v.console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("console:\n%s", v.console)
		}
	})
	for v.mux == nil {
		c, err := net.Dial("unix", sock)
		if err == nil {
			if v.mux, err = yamux.Client(c, api.MuxConfig()); err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case <-exited:
			t.Fatal("QEMU ended")
		case <-time.After(5 * time.Millisecond):
		}
	}
	v.client = v.greet()
	t.Logf("agent answered %v after QEMU was started", time.Since(start).Round(time.Millisecond))
	return v
}

func (v *vm) open(port uint32) *yamux.Stream {
	v.t.Helper()
	s, err := v.mux.OpenStream()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := api.WritePort(s, port); err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (v *vm) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	v.t.Cleanup(cancel)
	return ctx
}

func (v *vm) greet() api.GuestClient {
	v.t.Helper()
	c := api.NewGuestClient(ttrpc.NewClient(v.open(api.PortControl)))
	if _, err := c.StartContainer(v.ctx(), &api.StartContainerRequest{ContainerId: "x"}); err == nil || !strings.Contains(err.Error(), "Hello must be the first") {
		v.t.Errorf("a call before Hello = %v", err)
	}
	r, err := c.Hello(v.ctx(), &api.HelloRequest{MinVersion: 1, MaxVersion: 9, UnixNanos: time.Now().UnixNano()})
	if err != nil {
		v.t.Fatalf("Hello: %v", err)
	}
	if r.Version != api.MaxVersion || r.BootId == "" || r.RuntimeVersion == "" || r.MemoryBytes == 0 {
		v.t.Errorf("Hello = %v", r)
	}
	return c
}

// stream opens a stdio stream and returns its id.
func (v *vm) stream() (uint64, *yamux.Stream) {
	v.t.Helper()
	s := v.open(api.PortStdio)
	v.nextID++
	if err := api.WriteStdioHeader(s, v.nextID); err != nil {
		v.t.Fatal(err)
	}
	return v.nextID, s
}

func (v *vm) createPod() {
	v.t.Helper()
	start := time.Now()
	_, err := v.client.CreatePod(v.ctx(), &api.CreatePodRequest{
		PodId: "p1", Hostname: "web-0", Scratch: &api.DiskAddress{},
		Interfaces: []*api.Interface{{
			Name: "eth0", BootMac: "52:54:00:12:34:56", Mac: "0a:00:00:00:00:05", Mtu: 1400,
			Addresses: []*api.Address{{Cidr: "10.1.0.5/32"}, {Cidr: "fd00::5/64"}},
			Routes:    []*api.Route{{Destination: "0.0.0.0/0", Gateway: "169.254.1.1"}, {Destination: "::/0", Gateway: "fd00::1"}},
		}},
		ResolvConf: "nameserver 10.0.0.1\n", Hosts: "127.0.0.1 localhost\n",
		Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "9000"},
	})
	if err != nil {
		v.t.Fatalf("CreatePod: %v", err)
	}
	v.t.Logf("CreatePod took %v", time.Since(start).Round(time.Millisecond))
}

func spec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_NET_RAW"}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{},
		Process: &specs.Process{Args: args, Cwd: "/work/dir", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.CgroupNamespace}}, Resources: &specs.LinuxResources{}},
	}
}

func (v *vm) request(id string, s *specs.Spec, stdio *api.Stdio) *api.CreateContainerRequest {
	b, err := json.Marshal(s)
	if err != nil {
		v.t.Fatal(err)
	}
	return &api.CreateContainerRequest{PodId: "p1", ContainerId: id, Spec: b, Stdio: stdio,
		Layers: []*api.DiskAddress{{Lun: 1}}, LayerIds: []string{"sha256:busybox"}}
}

// start creates and starts a container.
func (v *vm) start(r *api.CreateContainerRequest) {
	v.t.Helper()
	t0 := time.Now()
	if _, err := v.client.CreateContainer(v.ctx(), r); err != nil {
		v.t.Fatalf("CreateContainer %s: %v", r.ContainerId, err)
	}
	t1 := time.Now()
	if _, err := v.client.StartContainer(v.ctx(), &api.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		v.t.Fatalf("StartContainer %s: %v", r.ContainerId, err)
	}
	v.t.Logf("container %s: create %v, start %v", r.ContainerId, t1.Sub(t0).Round(time.Millisecond), time.Since(t1).Round(time.Millisecond))
}

func (v *vm) wait(id, execID string) *api.Exit {
	v.t.Helper()
	r, err := v.client.Wait(v.ctx(), &api.WaitRequest{ContainerId: id, ExecId: execID})
	if err != nil {
		v.t.Fatalf("Wait %s %s: %v", id, execID, err)
	}
	return r.Exit
}

func (v *vm) remove(id string) []string {
	v.t.Helper()
	r, err := v.client.RemoveContainer(v.ctx(), &api.RemoveContainerRequest{ContainerId: id})
	if err != nil {
		v.t.Fatalf("RemoveContainer %s: %v", id, err)
	}
	return r.UnusedLayers
}

// exec runs args in a container and returns the output and the exit.
func (v *vm) exec(id, execID string, args ...string) (string, *api.Exit) {
	v.t.Helper()
	out, s := v.stream()
	if _, err := v.client.Exec(v.ctx(), &api.ExecRequest{ContainerId: id, ExecId: execID, Args: args, Stdio: &api.Stdio{Stdout: out}}); err != nil {
		v.t.Fatalf("Exec %q: %v", args, err)
	}
	b, err := io.ReadAll(s)
	s.Close()
	if err != nil {
		v.t.Fatalf("read output of %q: %v", args, err)
	}
	e := v.wait(id, execID)
	if _, err := v.client.RemoveExec(v.ctx(), &api.RemoveExecRequest{ContainerId: id, ExecId: execID}); err != nil {
		v.t.Fatalf("RemoveExec: %v", err)
	}
	return string(b), e
}

func TestVM(t *testing.T) {
	v := boot(t)
	v.createPod()
	step := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			outer := v.t
			v.t = t
			defer func() { v.t = outer }()
			f(t)
		})
	}
	step("output_and_exit_code", v.testOutput)
	step("long_running", v.testLongRunning)
	step("terminal", v.testTerminal)
	step("oom", v.testOOM)
	step("bad_requests", v.testBadRequests)
	step("clock", v.testClock)
	step("new_session", v.testNewSession)
	step("remove_pod", v.testRemovePod)
}

func (v *vm) testClock(t *testing.T) {
	set := func(r *api.SetClockRequest) time.Time {
		t.Helper()
		resp, err := v.client.SetClock(v.ctx(), r)
		if err != nil {
			t.Fatal(err)
		}
		return time.Unix(0, resp.UnixNanos)
	}
	before := set(&api.SetClockRequest{StepNanos: int64(time.Hour)})
	if after := set(&api.SetClockRequest{StepNanos: -int64(time.Hour)}); after.Sub(before) < time.Hour || after.Sub(before) > time.Hour+time.Minute {
		t.Errorf("a step of an hour brought the clock from %s to %s", before, after)
	}
	if after := set(&api.SetClockRequest{}); after.Before(before) || after.Sub(before) > time.Minute {
		t.Errorf("steps forth and back brought the clock from %s to %s", before, after)
	}
	if _, err := v.client.SetClock(v.ctx(), &api.SetClockRequest{UnixNanos: -1}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("SetClock(-1) = %v, want InvalidArgument", err)
	}
}

func (v *vm) testOutput(t *testing.T) {
	in, stdin := v.stream()
	out, stdout := v.stream()
	errID, stderr := v.stream()
	r := v.request("c1", spec("sh", "-c", "cat; id; pwd; echo $HOME; echo oops >&2; exit 7"), &api.Stdio{Stdin: in, Stdout: out, Stderr: errID})
	r.User = &api.User{Spec: "app", SupplementalGroups: []uint32{99}}
	v.start(r)
	fmt.Fprintln(stdin, "from the host")
	stdin.Close()
	got, err := io.ReadAll(stdout)
	if want := "from the host\nuid=1000(app) gid=1000(app) groups=44(video),99,1000(app)\n/work/dir\n/home/app\n"; err != nil || string(got) != want {
		t.Errorf("stdout %q, %v, want %q", got, err, want)
	}
	if got, err := io.ReadAll(stderr); err != nil || string(got) != "oops\n" {
		t.Errorf("stderr %q, %v", got, err)
	}
	if e := v.wait("c1", ""); e.Code != 7 || e.OomKilled || time.Since(time.Unix(0, e.ExitedUnixNanos)).Abs() > time.Minute {
		t.Errorf("exit %v, want code 7 just now", e)
	}
	if _, err := v.client.Signal(v.ctx(), &api.SignalRequest{ContainerId: "c1", Signal: 15}); err == nil || !strings.Contains(err.Error(), "exited") {
		t.Errorf("Signal after exit = %v", err)
	}
	if u := v.remove("c1"); len(u) != 1 || u[0] != "sha256:busybox" {
		t.Errorf("unused layers %q", u)
	}
}

func (v *vm) testLongRunning(t *testing.T) {
	r := v.request("c2", spec("sh", "-c", "sleep 1000 & echo up; tail -f /dev/null"), &api.Stdio{})
	r.PidNamespace = api.PIDNamespace_PID_NAMESPACE_POD
	v.start(r)
	v.start(v.request("c3", spec("sh", "-c", "while :; do nc -l -p 8080 -e cat; done"), nil))
	for i, tt := range []struct{ script, want string }{
		{"echo 1.2.3.4 web > /etc/hosts; cat /etc/hosts", "1.2.3.4 web\n"},
		{"hostname; cat /etc/hostname /etc/resolv.conf", "web-0\nweb-0\nnameserver 10.0.0.1\n"},
		{"cat /sys/class/net/eth0/mtu /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start", "1400\n9000\n80\n"},
		{"ip -4 route", "default via 169.254.1.1 dev eth0 \n169.254.1.1 dev eth0 scope link \n"},
		{"ip -6 addr show eth0 | busybox grep -v fe80: | busybox grep -c -e tentative -e site", "0\n"}, // the kernel still tries its own
		{"cat /proc/1/comm", "pause\n"},
		{"busybox ls -A1 /", "bin\ndev\netc\nproc\nsys\ntmp\nwork\n"},
		{"echo x > /dev/shm/x; mount | busybox grep -c ' /dev/shm '", "1\n"},
	} {
		got, e := v.exec("c2", fmt.Sprint("e", i), "sh", "-c", tt.script)
		if got != tt.want || e.Code > 1 {
			t.Errorf("%q = %q, code %d, want %q", tt.script, got, e.Code, tt.want)
		}
	}
	if got, _ := v.exec("c3", "shm", "cat", "/dev/shm/x"); got != "x\n" {
		t.Errorf("the pod's containers do not share /dev/shm: %q", got)
	}
	t0 := time.Now()
	for i := range 10 {
		if _, e := v.exec("c2", fmt.Sprint("fast", i), "true"); e.Code != 0 {
			t.Errorf("true exited with %d", e.Code)
		}
	}
	t.Logf("exec of true, with streams, wait and removal: %v each", (time.Since(t0) / 10).Round(time.Millisecond))
	v.checkForward(t)
	if _, err := v.client.UpdateContainer(v.ctx(), &api.UpdateContainerRequest{ContainerId: "c2", Resources: []byte(`{"memory":{"limit":67108864}}`)}); err != nil {
		t.Errorf("UpdateContainer: %v", err)
	}
	if got, _ := v.exec("c2", "lim", "cat", "/sys/fs/cgroup/memory.max"); got != "67108864\n" {
		t.Errorf("memory.max in the container: %q", got)
	}
	if _, err := v.client.Signal(v.ctx(), &api.SignalRequest{ContainerId: "c2", Signal: 9}); err != nil {
		t.Errorf("Signal: %v", err)
	}
	if e := v.wait("c2", ""); e.Code != 137 || e.OomKilled {
		t.Errorf("exit %v, want code 137", e)
	}
	if u := v.remove("c2"); len(u) != 0 {
		t.Errorf("unused layers %q while another container runs", u)
	}
	if u := v.remove("c3"); len(u) != 1 {
		t.Errorf("unused layers %q after the last container", u)
	}
}

// checkForward talks to the echo server on port 8080 of the pod, and to a closed port.
func (v *vm) checkForward(t *testing.T) {
	for port, want := range map[uint16]string{8080: "", 9: "refused"} {
		s := v.open(api.PortForward)
		if err := api.WriteForwardHeader(s, "p1", port); err != nil {
			t.Fatal(err)
		}
		msg, err := api.ReadForwardReply(s)
		if err != nil || (want == "") != (msg == "") || !strings.Contains(msg, want) {
			t.Errorf("forward to %d: %q, %v, want %q", port, msg, err, want)
		}
		if msg == "" {
			fmt.Fprint(s, "echo this")
			s.Close()
			if got, err := io.ReadAll(s); err != nil || string(got) != "echo this" {
				t.Errorf("forwarded %q, %v", got, err)
			}
		}
	}
}

func (v *vm) testTerminal(t *testing.T) {
	in, stdin := v.stream()
	out, stdout := v.stream()
	v.start(v.request("tty", spec("sh", "-c", "stty size; read x; stty size; echo got $x"), &api.Stdio{Stdin: in, Stdout: out, Terminal: true, Width: 80, Height: 24}))
	b := make([]byte, 64)
	n, err := io.ReadAtLeast(stdout, b, len("24 80\r\n"))
	if err != nil || !strings.HasPrefix(string(b[:n]), "24 80\r\n") {
		t.Errorf("first size %q, %v", b[:n], err)
	}
	if _, err := v.client.ResizeTTY(v.ctx(), &api.ResizeTTYRequest{ContainerId: "tty", Width: 100, Height: 30}); err != nil {
		t.Errorf("ResizeTTY: %v", err)
	}
	fmt.Fprint(stdin, "line\n")
	got, err := io.ReadAll(stdout)
	if want := "line\r\n30 100\r\ngot line\r\n"; err != nil || string(got) != want {
		t.Errorf("terminal said %q, %v, want %q", got, err, want)
	}
	stdin.Close()
	if e := v.wait("tty", ""); e.Code != 0 {
		t.Errorf("exit %v", e)
	}
	v.remove("tty")
}

func (v *vm) testOOM(t *testing.T) {
	ctx, cancel := context.WithCancel(v.ctx())
	defer cancel()
	events, err := v.client.Events(ctx, &api.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	s := spec("tail", "/dev/zero") // keeps what it reads until a line ends
	limit, swap := int64(32<<20), int64(32<<20)
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &swap}
	v.start(v.request("oom", s, nil))
	if e := v.wait("oom", ""); e.Code != 137 || !e.OomKilled {
		t.Errorf("exit %v, want 137 by OOM", e)
	}
	var told, exited bool
	for !told || !exited {
		e, err := events.Recv()
		if err != nil {
			t.Fatalf("Events: %v", err)
		}
		if e.ContainerId == "oom" {
			told = told || e.GetOom() != nil
			exited = exited || e.GetExit() != nil
		}
	}
	v.remove("oom")
}

func (v *vm) testBadRequests(t *testing.T) {
	user := v.request("bad", spec("true"), nil)
	user.User = &api.User{Spec: "nobody"}
	for name, tt := range map[string]struct {
		r    *api.CreateContainerRequest
		want string
	}{
		"unknown_user": {user, `user "nobody" is not in the image's /etc/passwd`},
		"not_in_path":  {v.request("bad", spec("nope"), nil), `executable file "nope" not found`},
		"not_at_path":  {v.request("bad", spec("/bin/nope"), nil), `executable file "/bin/nope" not found`},
		"no_spec":      {&api.CreateContainerRequest{PodId: "p1", ContainerId: "bad", Layers: []*api.DiskAddress{{Lun: 1}}, LayerIds: []string{"x"}}, "spec:"},
		"bad_id":       {v.request("../bad", spec("true"), nil), "container_id"},
	} {
		_, err := v.client.CreateContainer(v.ctx(), tt.r)
		if err == nil {
			_, err = v.client.StartContainer(v.ctx(), &api.StartContainerRequest{ContainerId: "bad"})
			v.remove("bad")
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "InvalidArgument") {
			t.Errorf("%s = %v, want an InvalidArgument with %q", name, err, tt.want)
		}
	}
	out, s := v.stream()
	v.start(v.request("ok", spec("sleep", "1000"), nil))
	_, err := v.client.Exec(v.ctx(), &api.ExecRequest{ContainerId: "ok", ExecId: "e", Args: []string{"nope"}, Stdio: &api.Stdio{Stdout: out}})
	if err == nil || !strings.Contains(err.Error(), `executable file "nope" not found`) {
		t.Errorf("Exec of a missing command = %v", err)
	}
	if b, err := io.ReadAll(s); err != nil || len(b) != 0 {
		t.Errorf("a failed exec's stream gave %q, %v", b, err)
	}
	v.remove("ok")
}

// testNewSession: a new host finds what the last one left.
func (v *vm) testNewSession(t *testing.T) {
	v.start(v.request("stays", spec("sleep", "1000"), nil))
	v.stream() // left unclaimed
	v.mux.Close()
	// A host that came back before the agent saw it go would be taken for the old one.
	for deadline := time.After(30 * time.Second); !strings.Contains(v.console.String(), "host gone"); {
		select {
		case <-deadline:
			t.Fatal("the agent does not see that the host is gone")
		case <-time.After(5 * time.Millisecond):
		}
	}
	c, err := net.Dial("unix", v.sock)
	if err != nil {
		t.Fatal(err)
	}
	if v.mux, err = yamux.Client(c, api.MuxConfig()); err != nil {
		t.Fatal(err)
	}
	v.client = v.greet()
	if _, err := v.client.StartContainer(v.ctx(), &api.StartContainerRequest{ContainerId: "stays"}); err != nil {
		t.Errorf("StartContainer in a new session: %v", err)
	}
	if got, _ := v.exec("stays", "e", "echo", "hello"); got != "hello\n" {
		t.Errorf("exec in a new session: %q", got)
	}
}

func (v *vm) testRemovePod(t *testing.T) {
	t0 := time.Now()
	if _, err := v.client.RemovePod(v.ctx(), &api.RemovePodRequest{PodId: "p1"}); err != nil {
		t.Fatalf("RemovePod: %v", err)
	}
	t.Logf("RemovePod with a running container took %v", time.Since(t0).Round(time.Millisecond))
	if _, err := v.client.Wait(v.ctx(), &api.WaitRequest{ContainerId: "stays"}); err == nil {
		t.Error("the pod's container is still known")
	}
	// The NIC and the disk are free for another pod.
	v.createPod()
	v.start(v.request("again", spec("true"), nil))
	if e := v.wait("again", ""); e.Code != 0 {
		t.Errorf("exit %v", e)
	}
	for range 2 { // gone is not an error
		if _, err := v.client.RemovePod(v.ctx(), &api.RemovePodRequest{PodId: "p1"}); err != nil {
			t.Errorf("RemovePod: %v", err)
		}
	}
}
