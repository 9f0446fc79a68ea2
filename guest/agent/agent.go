//go:build linux

package agent

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/stdio"
	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/event"
	"github.com/porthole-run/porthole/internal/withdrawn"
)

// keptEvents is how many events followers can catch up on.
const keptEvents = 1024

// Agent serves a host. See the package comment.
type Agent struct {
	cfg     Config                 // immutable after New
	streams *stdio.Registry        // has its own lock
	shared  *stdio.Registry        // streams of shares; has its own lock
	events  *event.Log[*api.Event] // has its own lock

	mu         sync.Mutex // guards the rest
	pods       map[string]*pod
	containers map[string]*container
	shares     map[uint64]*attached
	lastDir    uint64
	lastUpper  uint32        // project of the writable layer made last
	withdrawn  withdrawn.Set // pods, containers and shares that were removed before they were made
	standby    *reap.Process // namespaces that wait for a pod; nil: none
	mounted    *disk.Address // scratch disk that waits for a pod, at waitingScratch; nil: none

	layersMu sync.Mutex // guards layers and volumes, and is held while they are mounted and unmounted
	layers   map[string]*layer
	volumes  map[string]*volume
}

// New returns an agent without pods.
func New(cfg Config) *Agent {
	return &Agent{
		cfg:        cfg,
		streams:    stdio.NewRegistry(),
		shared:     stdio.NewRegistry(),
		events:     event.NewLog[*api.Event](keptEvents),
		pods:       map[string]*pod{},
		containers: map[string]*container{},
		shares:     map[uint64]*attached{},
		layers:     map[string]*layer{},
		volumes:    map[string]*volume{},
	}
}

// Serve serves one connection from the host and closes it, or hands it on. It is a
// transport.Handler.
func (a *Agent) Serve(ctx context.Context, port uint32, c transport.Conn) {
	switch port {
	case api.PortControl:
		a.serveControl(ctx, c)
	case api.PortStdio:
		a.serveStdio(c)
	case api.PortForward:
		a.serveForward(ctx, c)
	case api.PortShare:
		a.serveShare(c)
	default:
		c.Close()
	}
}

// HostGone drops what a host left that will not come back to it.
func (a *Agent) HostGone() {
	a.streams.Drop()
	a.shared.Drop()
}

func (a *Agent) serveStdio(c transport.Conn) { keep(a.streams, c, api.ReadStdioHeader) }
func (a *Agent) serveShare(c transport.Conn) { keep(a.shared, c, api.ReadShareHeader) }

// keep lets a stream wait for the call that names it.
func keep(r *stdio.Registry, c transport.Conn, header func(io.Reader) (uint64, error)) {
	c.SetReadDeadline(time.Now().Add(headerTime))
	id, err := header(c)
	if err != nil {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Time{})
	r.Put(id, c) // a stream that can not wait is closed, which the host sees
}

// pod finds a pod.
func (a *Agent) pod(id string) (*pod, error) {
	if err := checkID("pod_id", id); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[id]
	if p == nil {
		return nil, fmt.Errorf("pod %q: %w", id, errdefs.ErrNotFound)
	}
	return p, nil
}

// container finds a container.
func (a *Agent) container(id string) (*container, error) {
	if err := checkID("container_id", id); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// shortDir names a new folder below base, briefly: overlayfs takes one page of options
// for all the folders of a mount.
func (a *Agent) shortDir(base string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastDir++
	return filepath.Join(base, strconv.FormatUint(a.lastDir, 36))
}

// nextProject numbers a writable layer, for the file system to count what it takes.
func (a *Agent) nextProject() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastUpper++
	return a.lastUpper
}
