package tapnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// network is a pod's namespace with one end of a veth pair, and the other end outside.
type network struct {
	pod, outside netns.NsHandle
	path         string // of pod
}

// newNetwork makes a network that goes with the test, and moves the test to a host
// namespace of its own so that taps never touch the machine's.
func newNetwork(t *testing.T) *network {
	t.Helper()
	testneed.Root(t)
	testneed.File(t, "/dev/net/tun")
	name := fmt.Sprintf("tapnet-%d-%s", os.Getpid(), strings.ToLower(filepath.Base(t.Name())))
	runtime.LockOSThread() // never unlocked: the thread is in another namespace from here on
	_ = namespaceOf(t, name+"-home")
	n := &network{path: "/run/netns/" + name + "-pod"}
	n.outside = namespaceOf(t, name+"-out")
	n.pod = namespaceOf(t, name+"-pod")
	home, err := netns.GetFromName(name + "-home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = home.Close() })
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	out := handle(t, n.outside)
	if err := out.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "out0", MTU: 1320}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(n.pod), PeerMTU: 1320,
	}); err != nil {
		t.Fatal(err)
	}
	for h, link := range map[*netlink.Handle]string{out: "out0", handle(t, n.pod): "eth0"} {
		l, err := h.LinkByName(link)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// namespaceOf makes a named namespace and leaves the thread in it.
func namespaceOf(t *testing.T, name string) netns.NsHandle {
	t.Helper()
	ns, err := netns.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ns.Close()
		_ = netns.DeleteNamed(name)
	})
	return ns
}

func handle(t *testing.T, ns netns.NsHandle) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func newTap(t *testing.T) *Tap {
	t.Helper()
	tap, err := Create(Name(t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.Remove(); err != nil {
			t.Error(err)
		}
	})
	return tap
}

// packet opens a socket that sees and sends frames on a link.
func packet(t *testing.T, ns netns.NsHandle, link string) int {
	t.Helper()
	h := handle(t, ns)
	l, err := h.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- func() (err error) {
			if err := netns.Set(ns); err != nil {
				return err
			}
			proto := uint16(etherType>>8 | etherType<<8&0xff00)
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto)); err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: l.Attrs().Index})
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// etherType is the one that IEEE 802 gives to local experiments.
const etherType = 0x88b5

func frame(text string) []byte {
	f := bytes.Repeat([]byte{0xff}, 6)
	f = append(f, 2, 0, 0, 0, 0, 9, etherType>>8, etherType&0xff)
	f = append(f, text...)
	return append(f, make([]byte, 60-len(f))...)
}

// vnetHeader precedes each frame on the tap: no offloads.
var vnetHeader = make([]byte, 10)

// carries checks that frames pass in both directions.
func carries(t *testing.T, n *network, tap *Tap) {
	t.Helper()
	out := packet(t, n.outside, "out0")
	if _, err := tap.File().Write(append(bytes.Clone(vnetHeader), frame("from the guest")...)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, out, "from the guest"); got == nil {
		t.Error("frame of the guest did not come out")
	}
	if _, err := unix.Write(out, frame("to the guest")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, int(tap.File().Fd()), "to the guest"); got == nil {
		t.Error("frame to the guest did not come in")
	}
}

// receive reads from a descriptor until a frame holds text; nil when none comes.
func receive(t *testing.T, fd int, text string) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); n < 1 {
			continue
		}
		n, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(buf[:n], []byte(text)) {
			return buf[:n]
		}
	}
	return nil
}

// links prints a namespace's links but lo, with MTU and number of qdiscs that hold filters.
func links(t *testing.T, ns netns.NsHandle) string {
	t.Helper()
	h := handle(t, ns)
	all, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range all {
		if l.Attrs().Name == "lo" {
			continue
		}
		qdiscs, err := h.QdiscList(l)
		if err != nil {
			t.Fatal(err)
		}
		ingress := 0
		for _, q := range qdiscs {
			if q.Type() == "ingress" {
				ingress++
			}
		}
		fmt.Fprintf(&b, "%s mtu %d ingress %d\n", l.Attrs().Name, l.Attrs().MTU, ingress)
	}
	return b.String()
}

func TestTap_JoinLeave(t *testing.T) {
	n := newNetwork(t)
	tap := newTap(t)
	before := links(t, n.pod)
	for range 2 {
		if err := tap.Join(t.Context(), n.path, "eth0"); err != nil {
			t.Fatal(err)
		}
		want := "eth0 mtu 1320 ingress 1\n" + tap.Name() + " mtu 1320 ingress 1\n"
		if got := links(t, n.pod); !sameLines(got, want) {
			t.Errorf("joined pod has\n%swant\n%s", got, want)
		}
		carries(t, n, tap)
		if err := tap.Join(t.Context(), n.path, "eth0"); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("second Join() = %v, want FailedPrecondition", err)
		}
		if err := tap.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := links(t, n.pod); got != before {
			t.Errorf("pod after Leave has\n%swant\n%s", got, before)
		}
		if err := tap.Leave(t.Context()); err != nil {
			t.Errorf("second Leave() = %v", err)
		}
	}
}

func sameLines(a, b string) bool {
	return len(a) == len(b) && strings.Count(a, "\n") == strings.Count(b, "\n") &&
		!strings.ContainsFunc(a, func(r rune) bool { return !strings.ContainsRune(b, r) })
}

func TestTap_JoinFails(t *testing.T) {
	n := newNetwork(t)
	tap := newTap(t)
	if err := tap.Join(t.Context(), n.path+"-gone", "eth0"); !errdefs.IsNotFound(err) {
		t.Errorf("Join() to no namespace = %v, want NotFound", err)
	}
	if err := tap.Join(t.Context(), n.path, "eth7"); !errdefs.IsNotFound(err) {
		t.Errorf("Join() to no interface = %v, want NotFound", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tap.Join(ctx, n.path, "eth0"); !errors.Is(err, context.Canceled) {
		t.Errorf("Join() with an ended context = %v", err)
	}
	// An interface that has an ingress qdisc of another's is refused late, after the
	// tap has moved: all is undone, and the other's stays.
	pod := handle(t, n.pod)
	eth0, err := pod.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.QdiscAdd(ingress(eth0)); err != nil {
		t.Fatal(err)
	}
	before := links(t, n.pod)
	if err := tap.Join(t.Context(), n.path, "eth0"); err == nil {
		t.Error("Join() to an interface with an ingress qdisc succeeded")
	}
	if got := links(t, n.pod); got != before {
		t.Errorf("pod after a failed Join has\n%swant\n%s", got, before)
	}
	if err := pod.QdiscDel(ingress(eth0)); err != nil {
		t.Fatal(err)
	}
	if err := tap.Join(t.Context(), n.path, "eth0"); err != nil {
		t.Errorf("Join() after failed ones = %v", err)
	}
	carries(t, n, tap)
}

func TestTap_NamespaceDeleted(t *testing.T) {
	n := newNetwork(t)
	tap := newTap(t)
	if err := tap.Join(t.Context(), n.path, "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := netns.DeleteNamed(filepath.Base(n.path)); err != nil {
		t.Fatal(err)
	}
	if err := tap.Leave(t.Context()); err != nil {
		t.Errorf("Leave() after the namespace is gone = %v", err)
	}
	if err := tap.Join(t.Context(), n.path, "eth0"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Join() of a tap that is gone = %v, want FailedPrecondition", err)
	}
}

func TestTap_Remove(t *testing.T) {
	n := newNetwork(t)
	tap := newTap(t)
	if _, err := Create(tap.Name()); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Create() of a name that is taken = %v, want AlreadyExists", err)
	}
	before := links(t, n.pod)
	if err := tap.Join(t.Context(), n.path, "eth0"); err != nil {
		t.Fatal(err)
	}
	held, err := unix.Dup(int(tap.File().Fd())) // as a hypervisor that still runs holds it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	if err := tap.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := tap.Remove(); err != nil {
		t.Errorf("second Remove() = %v", err)
	}
	if got := links(t, n.pod); got != before {
		t.Errorf("pod after Remove has\n%swant\n%s", got, before)
	}
	if l, err := netlink.LinkByName(tap.Name()); err == nil {
		t.Errorf("tap %s is there after Remove", l.Attrs().Name)
	}
}

func TestCreate_BadName(t *testing.T) {
	for _, name := range []string{"", "a-name-of-16-char"} {
		if _, err := Create(name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Create(%q) = %v, want InvalidArgument", name, err)
		}
	}
}
