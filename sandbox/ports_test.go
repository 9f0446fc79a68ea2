package sandbox_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func withPorts(name string, ports ...sandbox.PortMapping) sandbox.PodConfig {
	c := podConfig(name)
	c.PortMappings = ports
	return c
}

func TestHostPorts(t *testing.T) {
	tcp := func(ip string, port int32) sandbox.PortMapping {
		return sandbox.PortMapping{Protocol: "tcp", ContainerPort: 80, HostPort: port, HostIP: ip}
	}
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		first := mustRun(t, m, withPorts("first", tcp("127.0.0.1", 8080), tcp("", 0)))
		for name, tt := range map[string]struct {
			port  sandbox.PortMapping
			taken bool
		}{
			"same":     {tcp("127.0.0.1", 8080), true},
			"all":      {tcp("", 8080), true},
			"all-v4":   {tcp("0.0.0.0", 8080), true},
			"other-ip": {tcp("127.0.0.2", 8080), false},
			"v6":       {tcp("::1", 8080), false},
			"port":     {tcp("", 8081), false},
			"none":     {tcp("", 0), false},
			"udp":      {sandbox.PortMapping{Protocol: "udp", ContainerPort: 80, HostPort: 8080}, false},
		} {
			id, err := m.RunPod(t.Context(), withPorts(name, tt.port))
			if tt.taken != errdefs.IsResourceExhausted(err) || tt.taken && !strings.Contains(err.Error(), first) {
				t.Errorf("%s: RunPod = %v, want a refusal that names the other pod: %v", name, err, tt.taken)
			}
			if err == nil {
				must(t, m.RemovePod(t.Context(), id))
			}
		}
		must(t, m.StopPod(t.Context(), first)) // which has no ports any more
		mustRun(t, m, withPorts("next", tcp("", 8080)))
	})
}

// A pod with the VM's network for the host's is at the host by its own ports.
func TestHostPortsOfVMNetwork(t *testing.T) {
	m, n := withHandler(t, func(h *sandbox.Handler) { h.VMNamespaces = true })
	c := withPorts("p", sandbox.PortMapping{Protocol: "tcp", ContainerPort: 80}, sandbox.PortMapping{Protocol: "udp", ContainerPort: 53, HostPort: 5353})
	c.Namespaces.Network = sandbox.NamespaceNode
	pod := mustRun(t, m, c)
	got := n.Attached(pod).PortMappings
	if len(got) != 2 || got[0].HostPort != 80 || got[1].HostPort != 5353 {
		t.Errorf("the network was asked for %+v", got)
	}
	p, err := m.Pod(t.Context(), pod)
	must(t, err)
	if p.Config.PortMappings[0].HostPort != 0 {
		t.Errorf("the pod shows %+v, not what was asked for", p.Config.PortMappings)
	}
}
