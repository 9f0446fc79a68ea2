package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestInside_DualStack(t *testing.T) {
	m := inside(t)
	if s := m.Status(t.Context()); s.Problem != nil {
		t.Fatalf("not ready:\n%s", s)
	}
	a, err := m.Attach(t.Context(), Pod{ID: "pod-a", Name: "a", Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Attach(t.Context(), Pod{ID: "pod-b", Name: "b", Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	nic := a.NICs[0]
	if _, err := net.ParseMAC(nic.MAC); err != nil || nic.MTU != 1500 || nic.Interface != "eth0" {
		t.Errorf("NIC = %+v, %v", nic, err)
	}
	if len(a.IPs) != 2 || !netip.MustParseAddr(a.IPs[0]).Is4() || !netip.MustParseAddr(a.IPs[1]).Is6() {
		t.Fatalf("IPs = %v, want one of each family", a.IPs)
	}
	routes := fmt.Sprint(nic.Routes)
	for _, want := range []string{"{0.0.0.0/0 10.79.64.1 0 0}", "{::/0 fd70:6f72:7468::1 0 0}"} {
		if strings.Count(routes, want) != 1 {
			t.Errorf("routes = %s, want %s once", routes, want)
		}
	}
	settle(t)
	for _, ip := range b.IPs {
		addr := net.JoinHostPort(ip, "8080")
		serve(t, b.Namespace, addr)
		in(t, a.Namespace, func() error { return dial(addr) }) // pod to pod
		if err := dial(addr); err != nil {                     // host to pod
			t.Error(err)
		}
	}
	serve(t, a.Namespace, "127.0.0.1:80")
	in(t, a.Namespace, func() error { return dial("127.0.0.1:80") })
	for range 2 {
		for _, id := range []string{"pod-a", "pod-b"} {
			if err := m.Detach(t.Context(), id); err != nil {
				t.Errorf("Detach = %v", err)
			}
		}
	}
	nothingLeft(t, m)
}

func TestInside_HostPort(t *testing.T) {
	m := inside(t)
	r, err := m.Attach(t.Context(), Pod{ID: "pod-a", PortMappings: []PortMapping{{Protocol: "TCP", ContainerPort: 80, HostPort: 18080}}})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, r.Namespace, net.JoinHostPort(r.IPs[0], "80"))
	if err := dial("10.79.64.1:18080"); err != nil {
		t.Errorf("through the host's port: %v", err)
	}
	if err := m.Detach(t.Context(), "pod-a"); err != nil {
		t.Fatal(err)
	}
	if err := dial("10.79.64.1:18080"); err == nil {
		t.Error("the host's port still answers")
	}
	nothingLeft(t, m)
}

// TestInside_UntoldRoutes uses a plugin that makes routes which its result does not tell.
func TestInside_UntoldRoutes(t *testing.T) {
	m := inside(t)
	writeConf(t, m.config, "00-ptp.conflist", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"porthole","plugins":[{"type":"ptp","mtu":1400,
		"ipam":{"type":"host-local","dataDir":%q,"subnet":"10.79.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}}]}`, leases(m)))
	r, err := m.Attach(t.Context(), Pod{ID: "pod-a"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Route{
		{Destination: "10.79.0.1/32"},
		{Destination: "0.0.0.0/0", Gateway: "10.79.0.1"},
		{Destination: "10.79.0.0/24", Gateway: "10.79.0.1"},
	}
	if diff := cmp.Diff(want, r.NICs[0].Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if r.NICs[0].MTU != 1400 {
		t.Errorf("MTU = %d, want 1400", r.NICs[0].MTU)
	}
	if err := m.Detach(t.Context(), "pod-a"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, m)
}

func TestInside_NamespaceLost(t *testing.T) {
	m := inside(t)
	if _, err := m.Attach(t.Context(), Pod{ID: "pod-a"}); err != nil {
		t.Fatal(err)
	}
	if err := m.host.Remove(t.Context(), "pod-a"); err != nil {
		t.Fatal(err)
	}
	if n := leased(t, m); n != 2 {
		t.Errorf("%d leases, want 2 until DEL", n)
	}
	if err := m.Detach(t.Context(), "pod-a"); err != nil {
		t.Errorf("Detach = %v", err)
	}
	nothingLeft(t, m)
}

func TestInside_TenAtOnce(t *testing.T) {
	m := inside(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[string]bool)
	for i := range 10 {
		wg.Go(func() {
			r, err := m.Attach(t.Context(), Pod{ID: fmt.Sprintf("pod-%d", i)})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, ip := range r.IPs {
				if seen[ip] {
					t.Errorf("%s was given twice", ip)
				}
				seen[ip] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 20 {
		t.Errorf("%d addresses, want 20", len(seen))
	}
	for i := range 10 {
		wg.Go(func() {
			if err := m.Detach(t.Context(), fmt.Sprintf("pod-%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	nothingLeft(t, m)
}

// TestInside_PluginFails adds a plugin that does not work behind those that do.
func TestInside_PluginFails(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"fails", `[ $CNI_COMMAND = DEL ] && exit 0; echo '{"code":100,"msg":"no luck"}'; exit 1`, "no luck"},
		{"rubbish", `echo rubbish`, "broken printed no result"},
		{"hangs", `[ $CNI_COMMAND = DEL ] && exit 0; sleep 1000`, context.DeadlineExceeded.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := inside(t)
			conf := filepath.Join(m.config.ConfDir, "10-porthole.conflist")
			var list map[string]any
			data, err := os.ReadFile(conf)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &list); err != nil {
				t.Fatal(err)
			}
			list["plugins"] = append(list["plugins"].([]any), map[string]any{"type": "broken"})
			if data, err = json.Marshal(list); err != nil {
				t.Fatal(err)
			}
			writeConf(t, m.config, "10-porthole.conflist", string(data))
			if _, err := m.Attach(t.Context(), Pod{ID: "pod-a"}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "broken") {
				t.Errorf("without the plugin: %v, want FailedPrecondition that names it", err)
			}
			writePlugin(t, m.config.PluginDirs[1], "broken", tt.script)
			m.grace = 500 * time.Millisecond
			limit := time.Minute // for the plugins before it, on a busy machine
			if tt.name == "hangs" {
				limit = 5 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err = m.Attach(ctx, Pod{ID: "pod-a"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), conf) {
				t.Errorf("Attach = %v, want %q and the file", err, tt.want)
			}
			if tt.name == "hangs" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Attach = %v, want DeadlineExceeded", err)
			}
			nothingLeft(t, m)
		})
	}
}

func TestInside_Namespaces(t *testing.T) {
	m := inside(t)
	ns, path := hostNamespaces{}, filepath.Join(m.config.StateDir, "x")
	if err := os.MkdirAll(m.config.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	// As after a reboot without a tmpfs.
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if ns.alive(path) {
		t.Error("a plain file is taken for a namespace")
	}
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.create(path); err != nil {
		t.Fatal(err)
	}
	if !ns.alive(path) {
		t.Error("the namespace is not alive")
	}
	if _, err := ns.inspect(path, "eth0"); err == nil {
		t.Error("inspect found an eth0")
	}
	for range 2 {
		if err := ns.remove(path); err != nil {
			t.Error(err)
		}
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != before {
		t.Errorf("the process is in %s, %v, want %s", after, err, before)
	}
}
