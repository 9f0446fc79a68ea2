package e2e

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPodNetwork(t *testing.T) {
	a := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		c.Metadata.Name = "net-a"
		c.DnsConfig = &cri.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"svc.cluster.local"}, Options: []string{"ndots:5"}}
	})
	b := runPod(t, env.server, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "net-b" })
	web := b.start(sh("web", "echo from b > /tmp/page; mkdir /tmp/w && mv /tmp/page /tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"))
	client := a.start(sh("client", "exec sleep 600"))

	ips := b.status().Network
	if ips.GetIp() == "" || len(ips.AdditionalIps) != 1 {
		t.Fatalf("addresses of a pod: %v, want an IPv4 and an IPv6 address", ips)
	}
	v4, v6 := ips.Ip, ips.AdditionalIps[0].Ip
	if !netip.MustParseAddr(v4).Is4() || !netip.MustParseAddr(v6).Is6() {
		t.Errorf("addresses %s and %s: want IPv4 first", v4, v6)
	}
	in := web.exec("ip addr show eth0; ip link show lo; ip route; cat /sys/class/net/eth0/mtu")
	for _, want := range []string{v4 + "/", v6 + "/", "LOOPBACK,UP", "default via", "1500"} {
		if !strings.Contains(in, want) {
			t.Errorf("the guest's network lacks %q:\n%s", want, in)
		}
	}
	if got := client.exec("cat /etc/resolv.conf"); got != "search svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5" {
		t.Errorf("resolv.conf:\n%s", got)
	}
	if got := client.exec("cat /etc/hostname; hostname; grep net-a /etc/hosts"); !strings.HasPrefix(got, "net-a\nnet-a\n"+a.status().Network.Ip) {
		t.Errorf("names:\n%s", got)
	}
	for _, url := range []string{"http://" + v4 + "/", "http://[" + v6 + "]/"} {
		if got := client.exec("wget -q -O - " + url); got != "from b" {
			t.Errorf("pod to pod, %s: %q", url, got)
		}
		if got, err := exec.Command("curl", "-s", "--max-time", "20", url).CombinedOutput(); string(got) != "from b\n" {
			t.Errorf("host to pod, %s: %q, %v", url, got, err)
		}
	}
	gateway := strings.Fields(client.exec("ip route | grep default"))[2]
	listener, err := net.Listen("tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("from host\n"))
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if got := client.exec("nc " + gateway + " " + port + " </dev/null"); got != "from host" {
		t.Errorf("pod to host: %q", got)
	}
}

// TestHostPorts: the portmap plugin maps ports of the host to the pod's, of TCP and UDP, at
// one address of the host where one is named; ports of another pod are refused; and they go
// with the pod.
func TestHostPorts(t *testing.T) {
	mapped := func(name string, ports ...*cri.PortMapping) *pod {
		return runPod(t, env.server, func(c *cri.PodSandboxConfig) {
			c.Metadata.Name = name
			c.PortMappings = ports
		})
	}
	tcp := &cri.PortMapping{Protocol: cri.Protocol_TCP, ContainerPort: 80, HostPort: 28080}
	local := &cri.PortMapping{Protocol: cri.Protocol_TCP, ContainerPort: 80, HostPort: 28081, HostIp: "127.0.0.1"}
	udp := &cri.PortMapping{Protocol: cri.Protocol_UDP, ContainerPort: 7777, HostPort: 28082}
	p := mapped("ports", tcp, local, udp)
	p.start(sh("web", "mkdir /tmp/w; echo mapped > /tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"))
	e := sh("echo", "exec /voltool udpecho 7777")
	e.Mounts = []*cri.Mount{toolMount(t)}
	echo := p.start(e)
	get := func(url string) string {
		out, _ := exec.Command("curl", "-s", "--max-time", "20", url).CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	gateway := strings.Fields(echo.exec("ip route | grep default"))[2] // an address of the host
	eventually(t, "the page is at the host's port", func() bool { return get("http://127.0.0.1:28080/") == "mapped" })
	for url, want := range map[string]string{
		"http://" + gateway + ":28080/": "mapped", "http://127.0.0.1:28081/": "mapped", "http://" + gateway + ":28081/": "",
	} {
		if got := get(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	conn, err := net.Dial("udp", net.JoinHostPort(gateway, "28082"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "a datagram comes back through the host's port", func() bool {
		conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("ping")); err != nil {
			return false
		}
		b := make([]byte, 16)
		n, err := conn.Read(b)
		return err == nil && string(b[:n]) == "ping"
	})

	c := podConfig(t)
	c.Metadata.Name, c.PortMappings = "second", []*cri.PortMapping{{Protocol: cri.Protocol_TCP, ContainerPort: 81, HostPort: 28081, HostIp: "0.0.0.0"}}
	_, err = p.s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c})
	refused(t, err, p.id, codes.ResourceExhausted)
	if _, err := p.s.StopPodSandbox(testContext(t), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	if got := get("http://127.0.0.1:28080/"); got != "" {
		t.Errorf("a stopped pod's port answers %q", got)
	}
	mapped("third", local)
}

func TestStoppedPodKeepsStatus(t *testing.T) {
	p := runPod(t, env.server)
	k := p.start(sh("sleeper", "exec sleep 600"))
	for range 2 {
		if _, err := p.s.StopPodSandbox(testContext(t), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Fatal(err)
		}
	}
	if s := p.status(); s.State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("state %v after StopPodSandbox", s.State)
	}
	if s := k.status(); s.State != cri.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 {
		t.Errorf("container after StopPodSandbox: %v, exit code %d", s.State, s.ExitCode)
	}
	if _, err := p.s.StartContainer(testContext(t), &cri.StartContainerRequest{ContainerId: k.id}); err == nil {
		t.Error("a container of a stopped pod was started")
	}
}
