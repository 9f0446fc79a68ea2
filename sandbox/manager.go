package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/event"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
)

// Config is what a Manager works with.
type Config struct {
	// Root is the folder of records and scratch disks. It must outlive restarts of the
	// daemon and of the host, and belong to this Manager alone.
	Root     string
	Launcher Launcher
	Images   Images
	Network  Network
	// DetachEarly says that Network.Detach may take a pod's network away while its VM still
	// has a NIC there. Else the VM ends first.
	DetachEarly bool
	Specs       Specs
	Scratch     Scratch
	// Cgroups puts VMs into the control groups that callers name as their pods' parents;
	// nil: VMs stay in the daemon's. A VM that may take more memory than the parent has
	// stays there too, unless CgroupsMust is set: then its pod is refused.
	Cgroups     Cgroups
	CgroupsMust bool
	// Handlers are the VM configurations by runtime handler name; "" is the default
	// one and must be there.
	Handlers map[string]Handler
	// HostResolvConf are the host's resolver files, for pods that bring no DNS
	// configuration: the first that names a server outside the loopback is used.
	// Nil: /etc/resolv.conf, then the one that systemd-resolved keeps.
	HostResolvConf []string
	// Clock tells the time; nil: time.Now.
	Clock func() time.Time
	// Spares has VMs that run before a pod asks; nil: each pod's VM is launched.
	Spares Spares
	// Journal is told what the calls that make pods spend their time on; nil: nobody is.
	Journal *phase.Journal
	// Logger gets what no call can return; nil: the one in New's context.
	Logger   *slog.Logger
	Timeouts Timeouts
}

// Timeouts bound the steps of operations, so that a guest that hangs does not hang
// the daemon. Zero values stand for the defaults.
type Timeouts struct {
	Launch time.Duration // a VM until its agent answers; default 1 minute
	Open   time.Duration // a shim that runs until it answers; default 15 s
	Step   time.Duration // one call to a shim, the network or the image store; default 1 minute
	Undo   time.Duration // one step of undoing; default 30 s
	Kill   time.Duration // from SIGKILL to the exit; default 10 s
	Usage  time.Duration // all VMs' answers to one question for figures; default 3 s
	Spare  time.Duration // a spare VM's first answer, and its end when there is none; default 10 s
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Launch: cmp.Or(t.Launch, time.Minute),
		Open:   cmp.Or(t.Open, 15*time.Second),
		Step:   cmp.Or(t.Step, time.Minute),
		Undo:   cmp.Or(t.Undo, 30*time.Second),
		Kill:   cmp.Or(t.Kill, 10*time.Second),
		Usage:  cmp.Or(t.Usage, 3*time.Second),
		Spare:  cmp.Or(t.Spare, 10*time.Second),
	}
}

// Manager holds all pods and containers of the node. New makes one; its methods are
// safe for concurrent use until Close.
//
// Ids that methods take may be cut short as long as they name one object: no such
// object is a NotFound error, several are InvalidArgument.
type Manager struct {
	cfg   Config // immutable
	store *store // immutable
	log   *slog.Logger
	tasks tasks

	events  *event.Log[Event] // has its own lock
	readers atomic.Int32      // of events

	mu             sync.RWMutex // guards the maps, not what is in them
	pods           map[string]*pod
	podNames       map[podKey]string
	containers     map[string]*container
	containerNames map[containerKey]string

	shared     sharedVMs // has its own lock
	recovering bool      // written by New alone, before and after all else
}

// New makes a Manager from what an earlier daemon left in c.Root and what still runs;
// recover.go says what becomes of each. It fails when records cannot be read since a
// newer build wrote them, never for a broken one. ctx bounds the recovery.
func New(ctx context.Context, c Config) (*Manager, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Timeouts = c.Timeouts.withDefaults()
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = logkey.Logger(ctx)
	}
	if c.HostResolvConf == nil {
		c.HostResolvConf = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
	}
	s, err := openStore(c.Root)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: c, store: s, log: c.Logger, events: event.NewLog[Event](keptEvents),
		pods: make(map[string]*pod), podNames: make(map[podKey]string),
		containers: make(map[string]*container), containerNames: make(map[containerKey]string),
	}
	m.recovering = true
	err = m.recover(ctx)
	m.recovering = false
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("recover pod sandboxes: %w", err)
	}
	return m, nil
}

func (c Config) validate() error {
	var errs []error
	missing := func(name string, isMissing bool) {
		if isMissing {
			errs = append(errs, fmt.Errorf("%s is not set: %w", name, errdefs.ErrInvalidArgument))
		}
	}
	missing("Root", c.Root == "")
	missing("Launcher", c.Launcher == nil)
	missing("Images", c.Images == nil)
	missing("Network", c.Network == nil)
	missing("Specs", c.Specs == nil)
	missing("Scratch", c.Scratch == nil)
	if _, ok := c.Handlers[""]; !ok {
		missing(`Handlers[""]`, true)
	}
	for name, h := range c.Handlers {
		errs = append(errs, h.validate(name))
	}
	return errors.Join(errs...)
}

// Close lets go of all shims and waits for what the Manager does in the background.
// Pods go on running. No other method may be at work or be called afterwards.
func (m *Manager) Close() {
	m.tasks.close()
	for _, p := range m.allPods() {
		if shim := p.running(); shim != nil {
			if err := shim.Close(); err != nil {
				m.log.Warn("close connection to shim", logkey.PodID, p.id, logkey.Error, err)
			}
		}
	}
	m.closeShared()
}

// NetworkReady is nil when pods can be given a network, else says what is missing.
func (m *Manager) NetworkReady(ctx context.Context) error {
	return m.cfg.Network.Ready(ctx)
}

func (m *Manager) findPod(id string) (*pod, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return lookup("pod sandbox", m.pods, id, (*pod).visible)
}

func (m *Manager) findContainer(id string) (*container, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return lookup("container", m.containers, id, (*container).visible)
}

func (m *Manager) allPods() []*pod {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*pod, 0, len(m.pods))
	for _, p := range m.pods {
		out = append(out, p)
	}
	return out
}

// containersOf are the containers of a pod, half-made ones too; nil means of all pods.
func (m *Manager) containersOf(p *pod) []*container {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []*container
	if p == nil {
		out = make([]*container, 0, len(m.containers))
	}
	for _, c := range m.containers {
		if p == nil || c.pod == p {
			out = append(out, c)
		}
	}
	return out
}

// addPod reserves the pod's name, and the host ports of one that is fresh, and makes it known.
func (m *Manager) addPod(p *pod, fresh bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := keyOfPod(p.config)
	if id, ok := m.podNames[key]; ok {
		return fmt.Errorf("pod sandbox %s/%s (uid %s, attempt %d) is there as %s: %w",
			key.namespace, key.name, key.uid, key.attempt, id, errdefs.ErrAlreadyExists)
	}
	if fresh {
		if err := m.checkPorts(p.config); err != nil {
			return err
		}
	}
	m.podNames[key] = p.id
	m.pods[p.id] = p
	return nil
}

func (m *Manager) dropPod(p *pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pods, p.id)
	if key := keyOfPod(p.config); m.podNames[key] == p.id {
		delete(m.podNames, key)
	}
}

// addContainer reserves the container's name in its pod and makes it known.
func (m *Manager) addContainer(c *container) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := keyOfContainer(c.pod.id, c.config)
	if id, ok := m.containerNames[key]; ok {
		return fmt.Errorf("container %s (attempt %d) of pod sandbox %s is there as %s: %w",
			key.name, key.attempt, key.podID, id, errdefs.ErrAlreadyExists)
	}
	m.containerNames[key] = c.id
	m.containers[c.id] = c
	return nil
}

func (m *Manager) dropContainer(c *container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.containers, c.id)
	if key := keyOfContainer(c.pod.id, c.config); m.containerNames[key] == c.id {
		delete(m.containerNames, key)
	}
}
