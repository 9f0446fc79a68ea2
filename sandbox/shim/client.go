package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// Versions of the shim protocol that brought something.
const (
	mountsVersion = 2 // containers have mounts
	statsVersion  = 3 // Stats
	// namespacesVersion: PID namespaces of other containers, mounts with mapped owners.
	namespacesVersion = 5
	beginVersion      = 6 // pods are set up in two steps
)

// Client is one shim seen from the daemon.
type Client struct {
	folder folder           // immutable after connect
	rpc    *ttrpc.Client    // immutable after connect
	api    api.ShimService  // immutable after connect
	info   sandbox.ShimInfo // immutable after connect
	procs  processRecord    // immutable after connect
	done   chan struct{}    // closed when err is set

	mu     sync.Mutex // guards the rest
	closed bool       // Close was called
	err    error
	waits  map[string]*waiting
}

var (
	_ sandbox.Shim        = (*Client)(nil)
	_ sandbox.PodBeginner = (*Client)(nil)
)

// connect connects to the shim of a folder and agrees on a protocol version.
func connect(ctx context.Context, f folder, version string) (*Client, error) {
	conn, err := localsock.Dial(ctx, f.control())
	if err != nil {
		return nil, fmt.Errorf("connect to shim: %w: %w", err, errdefs.ErrUnavailable)
	}
	ended := make(chan struct{})
	rpc := ttrpc.NewClient(conn, ttrpc.WithOnClose(func() { close(ended) }))
	c := &Client{
		folder: f, rpc: rpc, api: api.NewShimClient(rpc),
		done: make(chan struct{}), waits: map[string]*waiting{},
	}
	hello, err := call(ctx, c, c.api.Hello, &api.HelloRequest{
		MinVersion: api.MinVersion, MaxVersion: api.MaxVersion, ClientVersion: version,
	})
	if err == nil {
		if v := hello.GetVersion(); v < api.MinVersion || v > api.MaxVersion {
			err = fmt.Errorf("shim answers in protocol version %d, asked for %d to %d: %w",
				v, api.MinVersion, api.MaxVersion, errdefs.ErrFailedPrecondition)
		}
	}
	if err == nil {
		c.procs, err = f.readProcesses()
	}
	if err != nil {
		rpc.Close()
		<-ended
		return nil, fmt.Errorf("connect to shim: %w", err)
	}
	c.info = sandbox.ShimInfo{
		PID:           int(hello.GetPid()),
		VMPID:         int(hello.GetVmPid()),
		Protocol:      int(hello.GetVersion()),
		Version:       hello.GetShimVersion(),
		Accelerator:   hello.GetAccelerator(),
		KernelRelease: hello.GetKernelRelease(),
		AgentVersion:  hello.GetAgentVersion(),
		Template:      hello.GetTemplate(),
		TemplateError: hello.GetTemplateError(),
		VCPUs:         int(hello.GetVcpus()),
		MemoryMiB:     int(hello.GetMemoryMib()),
	}
	go c.watch(ended)
	return c, nil
}

// watch learns why the connection ended. It ends with the connection: Close waits for it.
func (c *Client) watch(ended <-chan struct{}) {
	<-ended
	c.mu.Lock()
	asked := c.closed
	c.mu.Unlock()
	var err error
	if !asked {
		err = c.folder.reason()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.done)
}

// call makes one call and returns when it is answered or ctx ends, whichever is first.
// A goroutine is left only when ctx ends while the request is being written, which ttrpc
// does not give up: until the shim reads again or Close cuts the connection.
func call[Req, Resp any](ctx context.Context, c *Client, method func(context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	type answer struct {
		resp *Resp
		err  error
	}
	ch := make(chan answer, 1)
	go func() {
		resp, err := method(ctx, req)
		ch <- answer{resp, err}
	}()
	select {
	case a := <-ch:
		if errors.Is(a.err, ttrpc.ErrClosed) {
			return nil, c.gone()
		}
		if a.err == nil {
			phase.GraftAnswer(ctx, a.resp)
		}
		return a.resp, fromStatus(a.err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gone is the error of a call whose connection has ended.
func (c *Client) gone() error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C: // still connecting
	}
	if err := c.Err(); err != nil {
		return errUnavailable(err)
	}
	return fmt.Errorf("connection to shim is closed: %w", errdefs.ErrUnavailable)
}

// SetupPod implements sandbox.Shim.
func (c *Client) SetupPod(ctx context.Context, p sandbox.PodSetup) error {
	_, err := call(ctx, c, c.api.SetupPod, podToWire(p))
	return err
}

// BeginPod implements sandbox.PodBeginner. A shim of an older build leaves it all to SetupPod.
func (c *Client) BeginPod(ctx context.Context, p sandbox.PodSetup) error {
	if c.info.Protocol < beginVersion {
		return nil
	}
	r := podToWire(p)
	r.Begin = true
	_, err := call(ctx, c, c.api.SetupPod, r)
	return err
}

// RemovePod implements sandbox.Shim.
func (c *Client) RemovePod(ctx context.Context, podID string) error {
	_, err := call(ctx, c, c.api.RemovePod, &api.RemovePodRequest{PodId: podID})
	return err
}

// CreateContainer implements sandbox.Shim.
func (c *Client) CreateContainer(ctx context.Context, s sandbox.ContainerSetup) (sandbox.ContainerCreated, error) {
	if len(s.Mounts) > 0 && c.info.Protocol < mountsVersion {
		// It would pass them over.
		return sandbox.ContainerCreated{}, fmt.Errorf("the pod's VM is of an older build (%s), which has no mounts: make the pod anew: %w",
			c.info.Version, errdefs.ErrFailedPrecondition)
	}
	if (s.TargetID != "" || slices.ContainsFunc(s.Mounts, func(m sandbox.MountSetup) bool { return m.MapIDs })) && c.info.Protocol < namespacesVersion {
		return sandbox.ContainerCreated{}, fmt.Errorf("the pod's VM is of an older build (%s), which joins no container's PID namespace and maps no owners: make the pod anew: %w",
			c.info.Version, errdefs.ErrFailedPrecondition)
	}
	r, err := call(ctx, c, c.api.CreateContainer, containerToWire(s))
	if err != nil {
		return sandbox.ContainerCreated{}, err
	}
	return sandbox.ContainerCreated{
		PID:  int(r.GetPid()),
		User: sandbox.ResolvedUser{UID: r.GetUid(), GID: r.GetGid(), AdditionalGIDs: r.GetAdditionalGids()},
	}, nil
}

// StartContainer implements sandbox.Shim.
func (c *Client) StartContainer(ctx context.Context, containerID string) (time.Time, error) {
	r, err := call(ctx, c, c.api.StartContainer, &api.ContainerRequest{ContainerId: containerID})
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, r.GetStartedUnixNanos()), nil
}

// waiting is one call of Wait under way, however many wait for its answer: ttrpc has no
// way to take back a call, so each that was given up would last until the exit.
type waiting struct {
	done chan struct{}
	exit sandbox.Exit
	err  error
}

// Wait implements sandbox.Shim.
func (c *Client) Wait(ctx context.Context, containerID string) (sandbox.Exit, error) {
	c.mu.Lock()
	w := c.waits[containerID]
	if w == nil {
		w = &waiting{done: make(chan struct{})}
		c.waits[containerID] = w
		go func() { // ends with the connection at the latest
			r, err := call(context.WithoutCancel(ctx), c, c.api.Wait, &api.ContainerRequest{ContainerId: containerID})
			c.mu.Lock()
			delete(c.waits, containerID)
			c.mu.Unlock()
			w.exit, w.err = exitFromWire(r), err
			close(w.done)
		}()
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.exit, w.err
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}

// Signal implements sandbox.Shim.
func (c *Client) Signal(ctx context.Context, containerID string, signal int, all bool) error {
	_, err := call(ctx, c, c.api.Signal, &api.SignalRequest{ContainerId: containerID, Signal: int32(signal), All: all})
	return err
}

// RemoveContainer implements sandbox.Shim.
func (c *Client) RemoveContainer(ctx context.Context, containerID string) error {
	_, err := call(ctx, c, c.api.RemoveContainer, &api.ContainerRequest{ContainerId: containerID})
	return err
}

// ReopenLog implements sandbox.Shim.
func (c *Client) ReopenLog(ctx context.Context, containerID string) error {
	_, err := call(ctx, c, c.api.ReopenLog, &api.ContainerRequest{ContainerId: containerID})
	return err
}

// UpdateContainer implements sandbox.Shim.
func (c *Client) UpdateContainer(ctx context.Context, containerID string, resources []byte) error {
	_, err := call(ctx, c, c.api.UpdateContainer, &api.UpdateContainerRequest{ContainerId: containerID, Resources: resources})
	return err
}

// State implements sandbox.Shim.
func (c *Client) State(ctx context.Context) (sandbox.ShimState, error) {
	r, err := call(ctx, c, c.api.State, &api.Empty{})
	if err != nil {
		return sandbox.ShimState{}, err
	}
	return stateFromWire(r), nil
}

// Stats implements sandbox.Shim.
func (c *Client) Stats(ctx context.Context, openFiles bool) (usage.VM, error) {
	if c.info.Protocol < statsVersion {
		return usage.VM{}, fmt.Errorf("the pod's VM is of an older build (%s), which tells no figures: make the pod anew: %w",
			c.info.Version, errdefs.ErrNotImplemented)
	}
	r, err := call(ctx, c, c.api.Stats, &api.StatsRequest{OpenFiles: openFiles})
	if err != nil {
		return usage.VM{}, err
	}
	var vm usage.VM
	if err := json.Unmarshal(r.GetUsage(), &vm); err != nil {
		return usage.VM{}, fmt.Errorf("decode figures of shim: %w: %w", err, errdefs.ErrDataLoss)
	}
	return vm, nil
}

// Shutdown implements sandbox.Shim. A shim that does not end when asked is killed, and
// the VM's process too when it is still there. It also removes the shim's folder.
func (c *Client) Shutdown(ctx context.Context) error {
	actx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// A shim that cannot be asked is ended without.
	_, askErr := call(actx, c, c.api.Shutdown, &api.Empty{})
	if err := c.folder.end(ctx, c.procs, askErr == nil); err != nil {
		return fmt.Errorf("shut down shim: %w", err)
	}
	return c.Close()
}

// Close implements sandbox.Shim.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.rpc.Close()
	<-c.done
	return err
}

// Done implements sandbox.Shim.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err implements sandbox.Shim.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Info implements sandbox.Shim.
func (c *Client) Info() sandbox.ShimInfo { return c.info }
