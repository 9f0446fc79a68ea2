package network

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// debianPlugins is where Debian's containernetworking-plugins puts them.
const debianPlugins = "/usr/lib/cni"

// insideEnv is set in the process that has namespaces of its own.
const insideEnv = "PORTHOLE_NETWORK_TEST_INSIDE"

// TestReal runs the tests below with real plugins, in network and mount namespaces that
// are made for it, so that the host is not touched.
func TestReal(t *testing.T) {
	testneed.Root(t)
	testneed.File(t, filepath.Join(debianPlugins, "bridge"))
	testneed.Program(t, "iptables")
	args := []string{"-test.run=^TestInside", "-test.v"}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("--- PASS: TestInside_")) {
		t.Error("no test ran")
	}
}

// inside makes a Manager with the configuration that users get, but for the folder
// where host-local keeps its leases.
func inside(t *testing.T) *Manager {
	t.Helper()
	testneed.Within(t, os.Getenv(insideEnv) != "", "TestReal")
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m, err := New(Config{
		ConfDir: filepath.Join(dir, "conf"), PluginDirs: []string{debianPlugins, filepath.Join(dir, "plugins")},
		CacheDir: filepath.Join(dir, "cache"), StateDir: filepath.Join(dir, "netns"),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{m.config.ConfDir, m.config.PluginDirs[1]} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("../deploy/cni/10-porthole.conflist")
	if err != nil {
		t.Fatal(err)
	}
	writeConf(t, m.config, "10-porthole.conflist",
		strings.Replace(string(data), `"type": "host-local",`, fmt.Sprintf(`"type": "host-local", "dataDir": %q,`, leases(m)), 1))
	t.Cleanup(func() {
		if _, err := m.Prune(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if br, err := netlink.LinkByName("porthole0"); err == nil {
			netlink.LinkDel(br)
		}
	})
	return m
}

func leases(m *Manager) string { return filepath.Join(m.config.CacheDir, "leases") }

// leased counts the addresses that host-local has given out.
func leased(t *testing.T, m *Manager) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(leases(m), "porthole", "*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		if _, err := netip.ParseAddr(filepath.Base(name)); err == nil {
			n++
		}
	}
	return n
}

func nothingLeft(t *testing.T, m *Manager) {
	t.Helper()
	ids, err := m.known()
	if err != nil || len(ids) > 0 {
		t.Errorf("left: %v, %v", ids, err)
	}
	if n := leased(t, m); n > 0 {
		t.Errorf("left: %d leases", n)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Type() == "veth" {
			t.Errorf("left: link %s", l.Attrs().Name)
		}
	}
}

// in runs f on a thread in a pod's namespace.
func in(t *testing.T, path string, f func() error) {
	t.Helper()
	err := onDoomedThread(func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		t.Error(err)
	}
}

// serve listens in a pod and greets.
func serve(t *testing.T, path, addr string) {
	t.Helper()
	in(t, path, func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "hello")
				c.Close()
			}
		}()
		return nil
	})
}

func dial(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		return fmt.Errorf("%s says %q, %w", addr, b, err)
	}
	return nil
}

// settle waits until the bridge may use its IPv6 address: for a second after the first
// pod made it, the kernel asks whether the address is taken.
func settle(t *testing.T) {
	t.Helper()
	br, err := netlink.LinkByName("porthole0")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		addrs, err := netlink.AddrList(br, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the bridge's addresses are still tentative: %v", addrs)
		}
	}
}
