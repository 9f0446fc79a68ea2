package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
)

const (
	// Node is the name of the node.
	Node = "node1"
	// NodeIP is its address: the kubelet takes none of loopback.
	NodeIP = "192.168.77.1"

	serviceCIDR = "10.96.0.0/16"
	startLimit  = 2 * time.Minute // for each program
)

// Config says where things are.
type Config struct {
	Name  string // of the node's cgroups; two clusters at a time need two
	Dir   string // everything is below; must exist, and be short, since sockets are in it
	Kube  string // folder of etcd and the programs of Kubernetes
	Bin   string // folder of porthole and probe
	Guest string // folder of the guest bundle
	Cache string // folder for downloads
	VM    string // further TOML in [vm] of porthole's configuration
	Extra string // further TOML at its end
}

// Cluster is a cluster that runs.
type Cluster struct {
	Runtime  *harness.Server
	Registry *registry.Registry
	// Gates are feature gates for StartKubelet, as in "A: true, B: false"; empty: its defaults.
	Gates string

	config  Config
	host    host
	kubelet *process
	stop    undo.Stack
}

// Start starts a cluster and waits until its node is ready. What it has started before an
// error is ended again.
func Start(ctx context.Context, config Config) (_ *Cluster, err error) {
	c := &Cluster{config: config}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	for _, d := range []string{c.logs(), c.path("etc"), c.path("pki"), c.path("kubelet"), c.path("runtime")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"prepare the host", c.prepareHost},
		{"start the registry", c.startRegistry},
		{"start the control plane", c.startControl},
		{"start the runtime", c.startRuntime},
		{"start the kubelet", c.StartKubelet},
		{"wait for the node", c.awaitNode},
		{"start kube-proxy", c.startProxy},
	} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return c, nil
}

// Stop ends everything, pods included.
func (c *Cluster) Stop() error {
	return c.stop.Run(context.Background(), 3*time.Minute)
}

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.config.Dir}, parts...)...)
}

func (c *Cluster) logs() string { return c.path("log") }

// Logs is the folder of what the programs print. The runtime's is Runtime.LogPath.
func (c *Cluster) Logs() string { return c.logs() }

// start runs a program of Kubernetes until Stop.
func (c *Cluster) start(name string, args ...string) (*process, error) {
	p, err := run(c.logs(), name, exec.Command(filepath.Join(c.config.Kube, name), args...))
	if err != nil {
		return nil, err
	}
	c.stop.Push("end "+name, func(context.Context) error { return p.end() })
	return p, nil
}

// Kubectl is a kubectl command, as the cluster's administrator.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.config.Kube, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.config.Dir)
	return cmd
}

// Kubeconfig is the path of the administrator's.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig("admin") }

func (c *Cluster) startRuntime(ctx context.Context) error {
	s, err := harness.New(harness.Config{
		Dir: c.path("runtime"), Bin: c.config.Bin, Guest: c.config.Guest, Accel: "tcg", CNIConf: deploy.CNIConf,
		VM: c.config.VM, Extra: c.config.Extra,
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
	c.Runtime = s
	c.stop.Push("end the runtime", func(context.Context) error { return s.Stop() })
	return s.AwaitTemplates(ctx)
}

// Handlers are further handlers of the runtime, for RuntimeClasses.
const Handlers = `
[handlers.big]
vcpus = 2
memory = "512MiB"
`
