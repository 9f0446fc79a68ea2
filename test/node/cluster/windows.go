package cluster

import (
	"bytes"
	"context"

	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/wine"
)

const (
	// WindowsNode is the name of the node with a Windows kubelet.
	WindowsNode = "windows1"

	windowsIP  = "192.168.77.2"
	windowsCRI = "127.0.0.1:7778"
	podsAPI    = "127.0.0.1:7779" // where the relay carries the kubelet's pipe to
)

// Windows is a second node of the cluster, whose kubelet is the one for Windows, under Wine,
// and whose runtime takes it for that.
type Windows struct {
	Runtime *harness.Server

	prefix  *wine.Prefix
	kubelet *process
}

// StartWindows adds the node and waits until it is ready. kube is the folder of
// kubelet.exe, tools that of podsrelay.exe. The node is tainted with os=windows.
func (c *Cluster) StartWindows(ctx context.Context, kube, tools string) (*Windows, error) {
	w := &Windows{}
	var err error
	if w.prefix, err = wine.New(ctx, filepath.Join(c.config.Cache, "wine"), c.path("wine")); err != nil {
		return nil, err
	}
	c.stop.Push("end Wine", w.prefix.End)
	if err := command(ctx, "ip", "address", "add", windowsIP+"/24", "dev", "node0"); err != nil {
		return nil, err
	}
	if err := w.register(ctx); err != nil {
		return nil, err
	}
	if err := w.startRuntime(ctx, c); err != nil {
		return nil, err
	}
	if err := w.startKubelet(c, kube); err != nil {
		return nil, err
	}
	if err := w.relayPods(c, tools); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return w, w.kubelet.await(ctx, func(ctx context.Context) error { return c.ready(ctx, WindowsNode) })
}

// Path is where a path of the node's drive C: is on this machine.
func (w *Windows) Path(path string) string { return w.prefix.Path(path) }

// register puts into the registry what the kubelet looks for and this Wine has not: that this
// is Windows 10 or later, and the names of the machine and of its boot.
func (w *Windows) register(ctx context.Context) error {
	const version = `HKLM\Software\Microsoft\Windows NT\CurrentVersion`
	for _, v := range [][]string{
		{version, "CurrentMajorVersionNumber", "REG_DWORD", "10"},
		{version, "CurrentMinorVersionNumber", "REG_DWORD", "0"},
		{version, "UBR", "REG_DWORD", "2000"},
		{version, "CurrentBuildNumber", "REG_SZ", "20348"},
		{version, "CurrentBuild", "REG_SZ", "20348"},
		{version, "ProductName", "REG_SZ", "Windows Server 2022 (Wine)"},
		{`HKLM\SYSTEM\HardwareConfig`, "LastConfig", "REG_SZ", "{00000000-0000-0000-0000-000000000001}"},
		{`HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`, "BootId", "REG_DWORD", "1"},
	} {
		if err := w.prefix.Command(ctx, "reg", "add", v[0], "/v", v[1], "/t", v[2], "/d", v[3], "/f").Run(); err != nil {
			return fmt.Errorf("set %s in the registry: %w", v[1], err)
		}
	}
	return nil
}

// startRuntime starts the node's own porthole, on a network of its own.
func (w *Windows) startRuntime(ctx context.Context, c *Cluster) error {
	dir := c.path("winrun")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	conf := deploy.CNIConf
	for from, to := range map[string]string{"porthole0": "porthole1", "10.79.64.0/20": "10.79.80.0/20", "fd70:6f72:7468::/64": "fd70:6f72:7469::/64"} {
		if !bytes.Contains(conf, []byte(from)) {
			return fmt.Errorf("the network's configuration has no %s", from)
		}
		conf = bytes.ReplaceAll(conf, []byte(from), []byte(to))
	}
	s, err := harness.New(harness.Config{
		Dir: dir, Bin: c.config.Bin, Guest: c.config.Guest, Accel: "tcg", CNIConf: conf, TCP: windowsCRI,
		VM: "uid_base = 1900002000", // not the users of the other's VMs
		Extra: fmt.Sprintf(`
[windows_kubelet]
dialect = "on"
pods_api = "unix://%s"
[windows_kubelet.drives]
c = %q
`, c.path("winrun", "pods.sock"), filepath.Join(w.prefix.Dir(), "drive_c")),
	})
	if err != nil {
		return err
	}
	if err := c.mirror(s); err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	w.Runtime = s
	c.stop.Push("end the Windows node's runtime", func(context.Context) error { return s.Stop() })
	return nil
}

// startKubelet starts kubelet.exe.
func (w *Windows) startKubelet(c *Cluster, kube string) error {
	ca := wine.Windows(c.path("pki", "apiserver.crt"))
	files := map[string]string{
		"kubelet.yaml":    fmt.Sprintf(windowsKubeletText, "tcp://"+windowsCRI, windowsIP),
		"node.kubeconfig": fmt.Sprintf(kubeconfigText, ca, apiURL, WindowsNode+"-token"),
	}
	if err := os.MkdirAll(w.Path(`C:\k`), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(w.Path(`C:\k\`+name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd := w.prefix.Command(context.Background(), filepath.Join(kube, "kubelet.exe"), `--config=C:\k\kubelet.yaml`, `--kubeconfig=C:\k\node.kubeconfig`,
		"--hostname-override="+WindowsNode, "--node-ip="+windowsIP, `--root-dir=C:\var\lib\kubelet`, `--cert-dir=C:\k\pki`, "-v=2")
	p, err := run(c.logs(), "kubelet-windows", cmd)
	if err != nil {
		return err
	}
	w.kubelet = p
	// A program under Wine hears of no signal: it is killed.
	c.stop.Push("kill the Windows kubelet", func(context.Context) error { return p.kill() })
	return nil
}

// relayPods carries the kubelet's Pods API, which it serves on a named pipe, to a socket of
// this machine.
func (w *Windows) relayPods(c *Cluster, tools string) error {
	p, err := run(c.logs(), "podsrelay", w.prefix.Command(context.Background(), filepath.Join(tools, "podsrelay.exe"), podsAPI, `\\.\pipe\kubelet-pods-api`))
	if err != nil {
		return err
	}
	c.stop.Push("kill podsrelay", func(context.Context) error { return p.kill() })
	r, err := relay(c.path("winrun", "pods.sock"), podsAPI)
	if err != nil {
		return err
	}
	c.stop.Push("end the relay of the Pods API", func(context.Context) error { return r.end() })
	return nil
}

// windowsKubeletText is as kubeletText, as far as Windows has the same.
var windowsKubeletText = strings.NewReplacer(
	"cgroupDriver: cgroupfs\ncgroupRoot: %q\n", "", "cgroupsPerQOS: true", "cgroupsPerQOS: false", "enforceNodeAllocatable: [pods]", "enforceNodeAllocatable: []",
	"failCgroupV1: false\n", "", "podLogsDir: %q\n", "",
	"memory.available: 100Mi, ", "",
).Replace(kubeletText) + "registerWithTaints: [{key: os, value: windows, effect: NoSchedule}]\n"
