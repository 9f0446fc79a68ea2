package e2e

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestEmulatorNetwork: pods whose endpoints CNI's win-bridge has made in HNS reach each
// other and the host, and the host reaches them.
func TestEmulatorNetwork(t *testing.T) {
	testneed.Within(t, env.windows != nil, "make test-hcsemu")
	a := runPod(t, env.server, named("net-a"), func(c *cri.PodSandboxConfig) {
		c.DnsConfig = &cri.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"svc.cluster.local"}}
	})
	b := runPod(t, env.server, named("net-b"))
	web := b.start(sh("web", "mkdir /tmp/w && echo from b > /tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"))
	client := a.start(sh("client", "exec sleep 600"))
	ip := b.status().Network.GetIp()
	if net.ParseIP(ip).To4() == nil || a.status().Network.GetIp() == ip {
		t.Fatalf("addresses of two pods: %q and %q", ip, a.status().Network.GetIp())
	}
	in := web.exec("ip addr show eth0; ip route")
	for _, want := range []string{ip + "/16", "default via 10.88.0.2", "00:15:5d:"} {
		if !strings.Contains(in, want) {
			t.Errorf("the guest's network lacks %q:\n%s", want, in)
		}
	}
	if got := client.exec("cat /etc/resolv.conf"); got != "search svc.cluster.local\nnameserver 10.96.0.10" {
		t.Errorf("resolv.conf:\n%s", got)
	}
	eventually(t, "the page is served", func() bool {
		out, err := exec.Command("curl", "-s", "--max-time", "5", "http://"+ip+"/").Output()
		return err == nil && string(out) == "from b\n"
	})
	if got := client.exec("wget -q -O - http://" + ip + "/"); got != "from b" {
		t.Errorf("pod to pod: %q", got)
	}
	listener, err := net.Listen("tcp", "10.88.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // ends with the listener
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("from host\n"))
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if got := client.exec("nc 10.88.0.2 " + port + " </dev/null"); got != "from host" {
		t.Errorf("pod to host: %q", got)
	}
}
