package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

var testPod = Pod{
	ID: "pod1", Name: "web", Namespace: "default", UID: "u-1",
	PortMappings: []PortMapping{{Protocol: "TCP", ContainerPort: 80, HostPort: 8080}, {Protocol: "tcp", ContainerPort: 81}},
	Annotations:  map[string]string{egressBandwidth: "10M"},
	DNS:          DNS{Servers: []string{"10.96.0.10"}, Search: []string{"svc.cluster.local"}},
}

func TestAttachDetach(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	got, err := m.Attach(t.Context(), testPod)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		Namespace: filepath.Join(m.config.StateDir, "pod1"),
		NICs: []NIC{{
			Name: "eth0", Interface: "eth0", MAC: "02:00:00:00:00:01", MTU: 1450, Addresses: []string{"10.0.0.2/24"},
			Routes: []Route{{Destination: "0.0.0.0/0", Gateway: "10.0.0.1"}},
		}},
		IPs: []string{"10.0.0.2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Attach (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("netns pod1\nadded br pod1\nadded ports pod1\n", h.String()); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
	for _, part := range []string{
		"args=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=pod1;K8S_POD_UID=u-1",
		`"portMappings":[{"protocol":"tcp","containerPort":80,"hostPort":8080}]`,
		`"bandwidth":{"egressRate":10000000,"egressBurst":4294967295}`,
		`"dns":{"servers":["10.96.0.10"],"searches":["svc.cluster.local"]}`,
	} {
		if !strings.Contains(h.calls[1], part) {
			t.Errorf("the second plugin was not given %s:\n%s", part, h.calls[1])
		}
	}
	if _, err := m.Attach(t.Context(), testPod); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Attach again = %v, want AlreadyExists", err)
	}
	for range 2 {
		if err := m.Detach(t.Context(), "pod1"); err != nil {
			t.Errorf("Detach = %v", err)
		}
	}
	if left := h.String() + strings.Join(files(t, m.config), "\n"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestAttach_FailsAtEveryStep lets each step fail once.
func TestAttach_FailsAtEveryStep(t *testing.T) {
	for step := 1; ; step++ {
		h := newFakeHost()
		h.failAt = step
		m := newTestManager(t, h, twoPlugins)
		_, err := m.Attach(t.Context(), testPod)
		if err == nil {
			if step < 4 { // create, two ADDs, inspect
				t.Errorf("only %d steps can fail", step-1)
			}
			return
		}
		t.Run(fmt.Sprintf("step_%d", step), func(t *testing.T) {
			if !errors.Is(err, errInjected) {
				t.Errorf("Attach = %v, want the injected error", err)
			}
			if left := h.String() + strings.Join(files(t, m.config), "\n"); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func TestAttach_UndoFails(t *testing.T) {
	h := newFakeHost()
	h.result = `{"cniVersion":"1.0.0","ips":[]}` // a result without address: steps 1 to 3 go well
	h.failAt = 4                                 // the first DEL
	m := newTestManager(t, h, twoPlugins)
	_, err := m.Attach(t.Context(), testPod)
	if errors.Is(err, errInjected) || err == nil || !strings.Contains(err.Error(), "no address") || !strings.Contains(err.Error(), errInjected.Error()) {
		t.Errorf("Attach = %v, want the cause, and the text of the failed undoing", err)
	}
	if got, want := h.String(), "added br pod1\nadded ports pod1\n"; got != want {
		t.Errorf("host = %q, want %q: the namespace must be gone", got, want)
	}
	ids, err := m.known()
	if diff := cmp.Diff([]string{"pod1"}, ids); diff != "" || err != nil {
		t.Errorf("known = %v, %v: Prune could not find it", ids, err)
	}
	gone, err := m.Prune(t.Context(), nil)
	if diff := cmp.Diff([]string{"pod1"}, gone); diff != "" || err != nil {
		t.Errorf("Prune = %v, %v", gone, err)
	}
	if left := h.String() + strings.Join(files(t, m.config), "\n"); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestAttach_ContextEnded(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInjected)
	h.result = `rubbish`
	if _, err := m.Attach(ctx, testPod); !errors.Is(err, errInjected) {
		t.Errorf("Attach = %v, want the cause", err)
	}
	if got := h.String(); got != "" {
		t.Errorf("left: %s: undoing must not use the ended context", got)
	}
}

func TestDetach_AfterConfChanged(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	if _, err := m.Attach(t.Context(), testPod); err != nil {
		t.Fatal(err)
	}
	writeConf(t, m.config, "10-test.conflist", `not JSON`)
	if err := m.Detach(t.Context(), "pod1"); err != nil {
		t.Fatal(err)
	}
	if got := h.String(); got != "" {
		t.Errorf("left: %s", got)
	}
	// DEL gets what ADD got, and ADD's result.
	last := h.calls[len(h.calls)-1]
	for _, part := range []string{"DEL br netns=pod1 args=IgnoreUnknown=1;K8S_POD_NAMESPACE=default", `"prevResult":`, `10.0.0.2/24`} {
		if !strings.Contains(last, part) {
			t.Errorf("the last call lacks %s:\n%s", part, last)
		}
	}
}

func TestDetach_AfterReboot(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	if _, err := m.Attach(t.Context(), testPod); err != nil {
		t.Fatal(err)
	}
	clear(h.spaces)
	again := newManager(m.config, h) // the daemon is new too
	if err := again.Detach(t.Context(), "pod1"); err != nil {
		t.Fatal(err)
	}
	if last := h.calls[len(h.calls)-1]; !strings.HasPrefix(last, "DEL br netns=. ") {
		t.Errorf("last call = %s, want an empty netns", last)
	}
	if got := h.String(); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestDetach_FailsThenSucceeds(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	if _, err := m.Attach(t.Context(), testPod); err != nil {
		t.Fatal(err)
	}
	h.failAt = h.step + 2 // the first plugin's DEL, which is called last
	if err := m.Detach(t.Context(), "pod1"); !errors.Is(err, errInjected) {
		t.Errorf("Detach = %v, want the injected error", err)
	}
	if got, want := h.String(), "netns pod1\nadded br pod1\n"; got != want {
		t.Errorf("host = %q, want %q", got, want)
	}
	if err := m.Detach(t.Context(), "pod1"); err != nil {
		t.Errorf("Detach again = %v", err)
	}
	if got := h.String(); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestPrune(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	for _, id := range []string{"a", "b", "c"} {
		if _, err := m.Attach(t.Context(), Pod{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	// A namespace without a record, as from a crash between the two.
	lone := filepath.Join(m.config.StateDir, "d")
	if err := os.MkdirAll(m.config.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lone, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	h.spaces[lone] = true
	gone, err := m.Prune(t.Context(), []string{"b", "x"})
	if diff := cmp.Diff([]string{"a", "c", "d"}, gone); diff != "" || err != nil {
		t.Errorf("Prune = %v, %v", gone, err)
	}
	if got, want := h.String(), "netns b\nadded br b\nadded ports b\n"; got != want {
		t.Errorf("host = %q, want %q", got, want)
	}
}

func TestAttach_OnePodAtATime(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			m.Attach(t.Context(), testPod)
			m.Detach(t.Context(), testPod.ID)
		})
	}
	wg.Wait()
	if left := h.String() + strings.Join(files(t, m.config), "\n"); left != "" {
		t.Errorf("left: %s", left)
	}
	if len(m.locks.held) > 0 {
		t.Errorf("%d locks are left", len(m.locks.held))
	}
}

func TestAttach_RefusesPods(t *testing.T) {
	tests := []struct {
		name string
		pod  Pod
	}{
		{"no_id", Pod{}},
		{"path_id", Pod{ID: "../x"}},
		{"long_id", Pod{ID: strings.Repeat("x", 129)}},
		{"name_with_argument", Pod{ID: "a", Name: "x;K8S_POD_UID=1"}},
		{"port", Pod{ID: "a", PortMappings: []PortMapping{{Protocol: "tcp", HostPort: 1, ContainerPort: 70000}}}},
		{"protocol", Pod{ID: "a", PortMappings: []PortMapping{{Protocol: "icmp", HostPort: 1, ContainerPort: 1}}}},
		{"bandwidth", Pod{ID: "a", Annotations: map[string]string{ingressBandwidth: "fast"}}},
	}
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := m.Attach(t.Context(), tt.pod); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Attach = %v, want InvalidArgument", err)
			}
		})
	}
	if len(h.calls) > 0 {
		t.Errorf("plugins ran: %q", h.calls)
	}
	if err := m.Detach(t.Context(), "../x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Detach(../x) = %v, want InvalidArgument", err)
	}
}

func TestReady(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	if err := m.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v", err)
	}
	want := "configuration: " + filepath.Join(m.config.ConfDir, "10-test.conflist") + " (network net, CNI 1.0.0)\n" +
		"plugins: /plugins/br, /plugins/addr, /plugins/ports\ncapabilities: bandwidth, dns, portMappings\npods: 0\nready\n"
	if diff := cmp.Diff(want, m.Status(t.Context()).String()); diff != "" {
		t.Errorf("Status (-want +got):\n%s", diff)
	}
	h.gone = []string{"addr"}
	if err := m.Ready(t.Context()); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "the plugins addr, not found in /plugins") {
		t.Errorf("Ready = %v, want one that names the plugin", err)
	}
	if _, err := m.Attach(t.Context(), testPod); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Attach = %v, want FailedPrecondition", err)
	}
	os.RemoveAll(m.config.ConfDir)
	if err := m.Ready(t.Context()); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "no network configuration in "+m.config.ConfDir) {
		t.Errorf("Ready = %v, want one that names the folder", err)
	}
	if got := m.Status(t.Context()).String(); !strings.HasPrefix(got, "pods: 0\nproblem: no network configuration") {
		t.Errorf("Status = %q", got)
	}
}

func TestNew_Refuses(t *testing.T) {
	good := Config{ConfDir: "/c", PluginDirs: []string{"/p"}, CacheDir: "/h", StateDir: "/s"}
	for name, spoil := range map[string]func(*Config){
		"no_conf":       func(c *Config) { c.ConfDir = "" },
		"relative":      func(c *Config) { c.StateDir = "s" },
		"no_plugin_dir": func(c *Config) { c.PluginDirs = nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			spoil(&c)
			if _, err := New(c); !errdefs.IsInvalidArgument(err) {
				t.Errorf("New = %v, want InvalidArgument", err)
			}
		})
	}
}

// TestAttach_GivenUp gives a call up while a plugin is at work: the plugin ends its work
// and is then asked to undo it.
func TestAttach_GivenUp(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	ctx, cancel := context.WithCancelCause(t.Context())
	h.onAdd = func() { cancel(errInjected) }
	if _, err := m.Attach(ctx, testPod); !errors.Is(err, errInjected) {
		t.Errorf("Attach = %v, want the cause", err)
	}
	if got := h.String() + strings.Join(files(t, m.config), "\n"); got != "" {
		t.Errorf("left: %s", got)
	}
}

// TestDetach_PluginsRefuse checks that plugins which refuse their configuration do not
// keep a pod that they never took, and do keep one that they did.
func TestDetach_PluginsRefuse(t *testing.T) {
	h := newFakeHost()
	m := newTestManager(t, h, twoPlugins)
	h.refuse = true
	if _, err := m.Attach(t.Context(), testPod); !errors.Is(err, errInjected) {
		t.Errorf("Attach = %v, want the plugin's error", err)
	}
	if err := m.Detach(t.Context(), testPod.ID); err != nil {
		t.Errorf("Detach of a pod that was never attached: %v", err)
	}
	if got := h.String() + strings.Join(files(t, m.config), "\n"); got != "" {
		t.Errorf("left: %s", got)
	}
	h.refuse = false
	if _, err := m.Attach(t.Context(), testPod); err != nil {
		t.Fatal(err)
	}
	h.refuse = true
	if err := m.Detach(t.Context(), testPod.ID); !errors.Is(err, errInjected) {
		t.Errorf("Detach = %v, want the plugin's error: what it gave is not free", err)
	}
}
