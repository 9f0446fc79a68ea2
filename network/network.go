package network

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/utils"
)

// interfaceName is the name of the interface that plugins make in the namespace.
const interfaceName = "eth0"

// undoTimeout bounds each step of undoing an Attach that failed.
const undoTimeout = 30 * time.Second

// pluginGrace is a Manager's usual grace.
const pluginGrace = 10 * time.Second

// Config says where things are.
type Config struct {
	ConfDir    string   // CNI configuration files, such as /etc/cni/net.d
	PluginDirs []string // plugins, in the order of search, such as /usr/lib/cni
	CacheDir   string   // records and cached results; survives a reboot
	StateDir   string   // network namespaces; best on a tmpfs
	Host       Host     // nil: Linux's network namespaces, held in StateDir
	Logger     *slog.Logger
}

// Pod is a pod to attach.
type Pod struct {
	ID                   string // also the CNI container id
	Name, Namespace, UID string
	PortMappings         []PortMapping
	Annotations, Labels  map[string]string
	CgroupParent         string
	DNS                  DNS // what the pod resolves names by; empty: nobody said
}

// PortMapping is a host port that leads to a port of the pod; without a HostPort it is
// left out.
type PortMapping struct {
	Protocol      string `json:"protocol"` // tcp, udp or sctp
	ContainerPort int32  `json:"containerPort"`
	HostPort      int32  `json:"hostPort"`
	HostIP        string `json:"hostIP,omitempty"` // empty: all
}

// Result is what a pod got.
type Result struct {
	Namespace string   // path of the network namespace, or id of an HCN namespace
	NICs      []NIC    // at least one; on Linux one
	IPs       []string // without prefix length; primary first
	DNS       DNS      // mostly empty: a pod's DNS comes from elsewhere
}

// NIC is an interface in the namespace, with what its user should see.
type NIC struct {
	Name      string // the name that the pod sees
	Interface string // its name in the namespace, or the id of an HNS endpoint
	MAC       string
	MTU       int
	Addresses []string // CIDRs
	Routes    []Route  // in an order in which they can be added
}

// Route is a route through a NIC.
type Route struct {
	Destination string // CIDR; masked
	Gateway     string // empty: on link
	MTU         int    // 0: the NIC's
	Metric      int
}

// DNS is a resolver configuration.
type DNS struct {
	Servers, Search, Options []string
}

// Manager attaches pods and detaches them.
type Manager struct {
	config Config // immutable after New
	logger *slog.Logger
	cni    libcni.CNI
	exec   invoke.Exec
	host   Host
	locks  keyLock
	grace  time.Duration // how long plugins go on after the call for them was given up
}

// New makes a Manager. It touches nothing yet: a configuration that is not there is what
// Ready tells.
func New(c Config) (*Manager, error) {
	for name, dir := range map[string]string{"configuration": c.ConfDir, "cache": c.CacheDir, "state": c.StateDir} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("network %s folder %q is no absolute path: %w", name, dir, errdefs.ErrInvalidArgument)
		}
	}
	if len(c.PluginDirs) == 0 {
		return nil, fmt.Errorf("no folder of network plugins is set: %w", errdefs.ErrInvalidArgument)
	}
	return NewWithExec(c, &pluginExec{}), nil
}

// NewWithExec makes a Manager as New does of a configuration that New takes, with another
// way to run plugins: for tests that bring plugins of their own.
func NewWithExec(c Config, e invoke.Exec) *Manager {
	if c.Host == nil {
		c.Host = pathHost{dir: c.StateDir, ns: hostNamespaces{}}
	}
	m := &Manager{config: c, logger: c.Logger, exec: e, host: c.Host, grace: pluginGrace}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	m.cni = libcni.NewCNIConfigWithCacheDir(c.PluginDirs, c.CacheDir, e)
	return m
}

func validateID(id string) error {
	if utils.ValidateContainerID(id) == nil && len(id) <= 128 {
		return nil
	}
	return fmt.Errorf("pod id %.140q is not 1 to 128 letters, digits, '.', '_' and '-': %w", id, errdefs.ErrInvalidArgument)
}
