package qemuvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/porthole-run/porthole/network/tapnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

func TestDriver_Suite(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	drivertest.Suite(t, drivertest.Env{
		Driver: r.driver(t, nil),
		Config: func(t *testing.T, id string) sandbox.VMConfig { return r.config(id) },
		NIC:    podNetwork,
		Left:   r.leftSince(before),
	})
}

// leftSince tells what VMs hold that they did not before; "" when nothing.
func (r *rig) leftSince(before string) func(*testing.T) string {
	return func(t *testing.T) string {
		return strings.Join(added(before, r.left(t)), "\n")
	}
}

// wantLeft checks that VMs hold nothing that they did not before. Less is no fault: an
// earlier test's descriptors may have been closed since.
func (r *rig) wantLeft(t *testing.T, before string) {
	t.Helper()
	if more := added(before, r.left(t)); len(more) > 0 {
		t.Errorf("left behind:\n%s\nbefore:\n%s", strings.Join(more, "\n"), before)
	}
}

// added are the lines of after that are not in before, or not as often.
func added(before, after string) []string {
	had := map[string]int{}
	for line := range strings.Lines(before) {
		had[line]++
	}
	var out []string
	for line := range strings.Lines(after) {
		if had[line]--; had[line] < 0 {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// left describes what VMs of this process hold: processes, interfaces, descriptors and
// files.
func (r *rig) left(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		pids, _ := os.ReadFile(c)
		for _, pid := range strings.Fields(string(pids)) {
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			fmt.Fprintf(&b, "process %s", comm)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		fmt.Fprintf(&b, "interface %s\n", l.Attrs().Name)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		for _, ours := range []string{"/dev/net/tun", r.dir, r.locks, r.kernel} {
			if strings.HasPrefix(to, ours) {
				fmt.Fprintf(&b, "descriptor of %s\n", to)
			}
		}
		if strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "net:") {
			b.WriteString("descriptor of a socket or namespace\n")
		}
	}
	files, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		fmt.Fprintf(&b, "file %s\n", f.Name())
	}
	return b.String()
}

// podNetwork makes a pod's namespace as CNI would: one end of a veth pair in it, the
// other in a namespace from which carry speaks to the guest.
func podNetwork(t *testing.T) (n sandbox.NIC, guest string, carry func(*testing.T)) {
	t.Helper()
	name := fmt.Sprintf("phtest-%d", os.Getpid())
	pod, outside := newNamespace(t, name+"-pod"), newNamespace(t, name+"-out")
	h, err := netlink.NewHandleAt(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "out0", MTU: 1400},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(pod),
		PeerMTU:       1400,
	}
	if err := h.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	out, err := h.LinkByName("out0")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := netlink.ParseAddr("198.51.100.1/24")
	if err := h.AddrAdd(out, addr); err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(out); err != nil {
		t.Fatal(err)
	}
	hp, err := netlink.NewHandleAt(pod)
	if err != nil {
		t.Fatal(err)
	}
	defer hp.Close()
	eth0, err := hp.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := hp.LinkSetUp(eth0); err != nil {
		t.Fatal(err)
	}
	carry = func(t *testing.T) {
		t.Helper()
		err := in(outside, func() error { return drivertest.EchoTCP(fmt.Sprintf("198.51.100.2:%d", wire.TCPEcho)) })
		if err != nil {
			t.Errorf("speak to the guest: %v", err)
		}
	}
	return sandbox.NIC{Name: "eth0", Namespace: "/run/netns/" + name + "-pod", Interface: "eth0"}, "198.51.100.2/24", carry
}

// newNamespace makes a named network namespace that goes with the test.
func newNamespace(t *testing.T, name string) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	err := onThread(func() (err error) {
		ns, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		t.Fatalf("make namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = ns.Close()
		_ = netns.DeleteNamed(name)
	})
	return ns
}

// onThread runs f on a thread that is thrown away.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	return <-done
}

func in(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
}

func TestStart_GuestHangs(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	v := r.boot(t, r.driver(t, func(c *Config) { c.CommandLine = strings.ReplaceAll(testCommandLine, "quiet ", "") + " testguest=hang" }), "hangs")
	eventually(t, 60*time.Second, func() error {
		if !bytes.Contains(v.Console(), []byte("hanging as asked")) {
			return errors.New("guest did not come to its init")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := v.Dial(ctx, wire.Echo)
	if !errdefs.IsDeadlineExceeded(err) || !strings.Contains(err.Error(), "hanging as asked") {
		t.Errorf("Dial() = %v, want DeadlineExceeded with the console", err)
	}
	r.wantEnd(t, v, before)
}

func TestStart_InitEnds(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	v := r.boot(t, r.driver(t, func(c *Config) { c.CommandLine += " testguest=exit" }), "ends")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	_, err := v.Dial(ctx, wire.Echo)
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Attempted to kill init") || !strings.Contains(err.Error(), "leaving as asked") {
		t.Errorf("Dial() = %v, want Unavailable with the panic and what init said", err)
	}
	r.wantEnd(t, v, before)
}

func TestStart_QEMUKilled(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	v := r.boot(t, r.driver(t, nil), "killed")
	p, err := os.FindProcess(v.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-v.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("VM did not end")
	}
	if err := v.Err(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("Err() = %v, want Unavailable and the signal", err)
	}
	r.wantEnd(t, v, before)
}

func TestStart_QEMURefuses(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	c := r.config("refused")
	c.Kernel = filepath.Join(r.dir, "not-a-kernel")
	if err := os.WriteFile(c.Kernel, []byte("this is no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(c.Kernel)
	v, err := r.driver(t, nil).Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "kernel") {
		t.Errorf("Start() = %v, want what QEMU says of the kernel", err)
	}
	if err := os.Remove(c.Kernel); err != nil {
		t.Fatal(err)
	}
	r.wantEnd(t, v, before)
}

func TestCreate_KernelNotReadable(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	c := r.config("unreadable")
	c.Initrd = filepath.Join(r.dir, "secret")
	if err := os.WriteFile(c.Initrd, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.driver(t, nil).Create(t.Context(), c)
	if !errdefs.IsPermissionDenied(err) {
		t.Errorf("Create() = %v, want PermissionDenied", err)
	}
	_ = os.Remove(c.Initrd)
	r.wantLeft(t, before)
}

// wantEnd stops the VM and checks that nothing is left of it.
func (r *rig) wantEnd(t *testing.T, v sandbox.VM, before string) {
	t.Helper()
	if err := v.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantLeft(t, before)
}

// TestStart_Confined looks at QEMU from outside: who it is and what it can reach.
func TestStart_Confined(t *testing.T) {
	r := newRig(t)
	v := r.boot(t, r.driver(t, nil), "confined")
	proc := "/proc/" + strconv.Itoa(v.PID())
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	four := func(id int) string { return strings.TrimSpace(strings.Repeat(strconv.Itoa(id)+" ", 4)) }
	for key, want := range map[string]string{
		"Uid": four(testUID), "Gid": four(testUID), "Groups": "",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
		"Seccomp": "2", "NoNewPrivs": "1",
	} {
		_, rest, _ := strings.Cut(string(status), "\n"+key+":")
		line, _, _ := strings.Cut(rest, "\n")
		if got := strings.Join(strings.Fields(line), " "); got != want {
			t.Errorf("%s of qemu = %q, want %q", key, got, want)
		}
	}
	for _, ns := range []string{"net", "ipc", "uts"} {
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		if its, err := os.Readlink(proc + "/ns/" + ns); err != nil || its == ours {
			t.Errorf("%s namespace of qemu is ours (%s, %v)", ns, its, err)
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(proc + "/fd/" + fd.Name())
		known := to == r.kernel || to == r.initrd
		for _, p := range []string{"socket:", "pipe:", "anon_inode:", "/dev/null", "/dev/net/tun", "/memfd:"} {
			known = known || strings.HasPrefix(to, p)
		}
		if !known {
			t.Errorf("qemu has %s open", to)
		}
	}
	if _, err := netlink.LinkByName(tapnet.Name("confined")); err != nil {
		t.Errorf("tap: %v", err)
	}
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil || !regexp.MustCompile(`(?m)^Max core file size +1 +1 +bytes`).Match(limits) {
		t.Errorf("limits of qemu, %v:\n%s", err, limits)
	}
	other := r.boot(t, r.driver(t, nil), "confined-2")
	status, err = os.ReadFile("/proc/" + strconv.Itoa(other.PID()) + "/status")
	if err != nil || !strings.Contains(string(status), "\nUid:\t"+strings.ReplaceAll(four(testUID+1), " ", "\t")) {
		t.Errorf("a second VM's process, %v:\n%s", err, status)
	}
}

// TestCreate_UIDs runs out of users, and has one again when a VM has ended.
func TestCreate_UIDs(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, func(c *Config) { c.UIDs.Count = 1 })
	v, err := d.Create(t.Context(), r.config("uid-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(t.Context(), r.config("uid-2")); !errdefs.IsResourceExhausted(err) {
		t.Errorf("Create() of a second VM with one user = %v, want ResourceExhausted", err)
	}
	if err := v.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := r.boot(t, d, "uid-2")
	if err := again.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := d.config.UIDs.take()
	if err != nil {
		t.Errorf("the user of a VM that has run is not free: %v", err)
	}
	u.giveBack()
}
