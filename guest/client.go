package guest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/phase"
)

// A Dialer opens streams to the agent of one VM.
type Dialer interface {
	// Dial opens a stream to a port. It waits until the guest can take it or ctx ends,
	// and returns an Unavailable error when the VM has ended. The connection also has
	// CloseWrite() error.
	Dial(ctx context.Context, port uint32) (net.Conn, error)
}

// Waits between attempts to reach an agent that is still booting.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 200 * time.Millisecond
)

// slowHello is how late the clock that Hello carries may be before it is sent anew.
const slowHello = 20 * time.Millisecond

// Client speaks to one agent.
type Client struct {
	dialer Dialer          // immutable after Connect
	rpc    *ttrpc.Client   // immutable after Connect
	api    api.GuestClient // immutable after Connect
	info   Info            // immutable after Connect
	done   <-chan struct{} // immutable after Connect
	nextID atomic.Uint64   // the last stream id given out

	aliases atomic.Pointer[aliases] // nil: none
}

// seedBytes is how much of the host's randomness a guest is given.
const seedBytes = 64

// Connect connects to the agent, tries again while the guest boots, until ctx ends,
// agrees on a protocol version, seeds the guest's random pool and sets its clock. An agent
// that speaks no version of this build's is a FailedPrecondition error; a VM that has ended
// is an Unavailable one.
func Connect(ctx context.Context, d Dialer, hostVersion string) (*Client, error) {
	return connect(ctx, d, hostVersion, false)
}

// ConnectTemplate is Connect for a VM that is to be a template: the guest makes nothing up
// that its clones must not share.
func ConnectTemplate(ctx context.Context, d Dialer, hostVersion string) (*Client, error) {
	return connect(ctx, d, hostVersion, true)
}

func connect(ctx context.Context, d Dialer, hostVersion string, template bool) (*Client, error) {
	wait := firstRetry
	for {
		c, err := connectOnce(ctx, d, hostVersion, template)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || !mayPass(err) {
			return nil, fmt.Errorf("connect to agent: %w", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("connect to agent: %w (last: %w)", ctx.Err(), err)
		case <-timer.C:
		}
		wait = min(2*wait, lastRetry)
	}
}

// notYet marks errors that a booting guest gives.
type notYet struct{ error }

func (e notYet) Unwrap() error { return e.error }

func mayPass(err error) bool {
	var n notYet
	return errors.As(err, &n)
}

func connectOnce(ctx context.Context, d Dialer, hostVersion string, template bool) (*Client, error) {
	conn, err := d.Dial(ctx, api.PortControl)
	if err != nil {
		if errdefs.IsUnavailable(err) {
			return nil, err
		}
		return nil, notYet{err}
	}
	done := make(chan struct{})
	rpc := ttrpc.NewClient(conn, ttrpc.WithOnClose(func() { close(done) }))
	c := &Client{dialer: d, rpc: rpc, api: api.NewGuestClient(rpc), done: done}
	seed := make([]byte, seedBytes)
	_, _ = rand.Read(seed) // it never fails
	begin := time.Now()
	h, err := call(ctx, c.api.Hello, &api.HelloRequest{
		MinVersion:  api.MinVersion,
		MaxVersion:  api.MaxVersion,
		HostVersion: hostVersion,
		UnixNanos:   begin.UnixNano(),
		Seed:        seed,
		Template:    template,
	})
	if err != nil {
		c.Close()
		if errdefs.IsUnavailable(err) {
			err = notYet{err} // the stream was cut: nothing listens yet
		}
		return nil, err
	}
	if c.info, err = checkHello(h); err != nil {
		c.Close()
		return nil, err
	}
	if time.Since(begin) > slowHello {
		// The request lay waiting while the guest booted, and its time with it.
		if err := c.SetClock(ctx); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// call makes one call and returns when it is answered or ctx ends, whichever is first:
// ttrpc, which does heed ctx while it waits for the answer, also waits for a peer that
// does not read what is written to it, whatever becomes of ctx. In that case alone the
// goroutine outlives the call: until the write is through or Close cuts the connection.
func call[Req, Resp any](ctx context.Context, method func(context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
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
		if a.err != nil {
			return nil, fromWire(a.err)
		}
		phase.GraftAnswer(ctx, a.resp)
		return a.resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Info returns what the agent told of itself.
func (c *Client) Info() Info { return c.info }

// Done is closed when the connection has ended, by Close or by itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection and waits for that. Calls under way return Unavailable
// errors. Streams stay open.
func (c *Client) Close() error {
	err := c.rpc.Close()
	<-c.done
	return err
}

// namespacesVersion is the protocol's since which agents know of PodNamespaces, PID
// targets and mapped owners.
const namespacesVersion = 2

// CreatePod makes a pod, or finishes one that BeginPod has begun. AlreadyExists when it is
// there.
func (c *Client) CreatePod(ctx context.Context, p Pod) error {
	if p.Namespaces != (PodNamespaces{}) && c.Info().Protocol < namespacesVersion {
		return fmt.Errorf("the agent (%s) is of an older build, which gives pods no namespaces but the usual: %w", c.Info().AgentVersion, errdefs.ErrNotImplemented)
	}
	_, err := call(ctx, c.api.CreatePod, podRequest(p))
	return inGuest(err)
}

// beginVersion is the protocol's since which agents make pods in two steps.
const beginVersion = 3

// BeginsPods tells whether the agent can begin a pod before all is known of it.
func (c *Client) BeginsPods() bool { return c.Info().Protocol >= beginVersion }

// BeginPod makes all of a pod but its interfaces and name files; CreatePod of the same pod
// then makes those. Only where BeginsPods.
func (c *Client) BeginPod(ctx context.Context, p Pod) error {
	r := podRequest(p)
	r.Begin = true
	_, err := call(ctx, c.api.CreatePod, r)
	return inGuest(err)
}

// scratchVersion is the protocol's since which agents mount a scratch disk ahead.
const scratchVersion = 4

// MountsScratch tells whether the agent can mount a scratch disk ahead.
func (c *Client) MountsScratch() bool { return c.Info().Protocol >= scratchVersion }

// MountScratch mounts a scratch disk ahead, for the first pod of each clone of the VM, which
// is to be a template. When it returns nothing of the disk is left to be written. Only where
// MountsScratch.
func (c *Client) MountScratch(ctx context.Context, a DiskAddress) error {
	_, err := call(ctx, c.api.MountScratch, &api.MountScratchRequest{Scratch: diskRequest(a)})
	return inGuest(err)
}

// RemovePod ends what runs of a pod and undoes CreatePod. Gone is not an error, and what is
// gone is not made any more by a call that was given up and is still on its way.
func (c *Client) RemovePod(ctx context.Context, podID string) error {
	_, err := call(ctx, c.api.RemovePod, &api.RemovePodRequest{PodId: c.inside(podID)})
	return inGuest(err)
}

// CreateContainer makes a container that does not run yet. On error the guest keeps nothing of it.
func (c *Client) CreateContainer(ctx context.Context, r Container) (Created, error) {
	if r.TargetID != "" && c.Info().Protocol < namespacesVersion {
		return Created{}, fmt.Errorf("the agent (%s) is of an older build, which joins no container's PID namespace: %w", c.Info().AgentVersion, errdefs.ErrNotImplemented)
	}
	r.PodID = c.inside(r.PodID)
	resp, err := call(ctx, c.api.CreateContainer, containerRequest(r))
	if err != nil {
		return Created{}, inGuest(err)
	}
	pid, err := checkPID(resp.GetPid())
	if err != nil {
		return Created{}, err
	}
	user, err := checkUser(resp.GetUser())
	if err != nil {
		return Created{}, err
	}
	return Created{PID: pid, User: user}, nil
}

// StartContainer lets a container run and returns when that was, by the guest's clock.
func (c *Client) StartContainer(ctx context.Context, containerID string) (time.Time, error) {
	resp, err := call(ctx, c.api.StartContainer, &api.StartContainerRequest{ContainerId: c.inside(containerID)})
	if err != nil {
		return time.Time{}, inGuest(err)
	}
	return time.Unix(0, resp.GetStartedUnixNanos()), nil
}

// Exec starts a further process in a running container. execID is the caller's choice.
func (c *Client) Exec(ctx context.Context, containerID, execID string, args []string, s Stdio) (pid int, err error) {
	resp, err := c.exec(ctx, containerID, execID, args, s, false)
	if err != nil {
		return 0, err
	}
	return checkPID(resp.GetPid())
}

// ExecWait is Exec and Wait in one call, where the agent is not of an older build. After an error
// the process may run.
func (c *Client) ExecWait(ctx context.Context, containerID, execID string, args []string, s Stdio) (Exit, error) {
	resp, err := c.exec(ctx, containerID, execID, args, s, true)
	if err != nil {
		return Exit{}, err
	}
	if resp.GetExit() == nil {
		return c.Wait(ctx, containerID, execID)
	}
	return checkExit(resp.GetExit())
}

func (c *Client) exec(ctx context.Context, containerID, execID string, args []string, s Stdio, wait bool) (*api.ExecResponse, error) {
	resp, err := call(ctx, c.api.Exec, &api.ExecRequest{
		ContainerId: c.inside(containerID), ExecId: execID, Args: args, Stdio: stdioRequest(s), Wait: wait,
	})
	return resp, inGuest(err)
}

// Wait returns when a process has exited; an empty execID means the container's own.
func (c *Client) Wait(ctx context.Context, containerID, execID string) (Exit, error) {
	resp, err := call(ctx, c.api.Wait, &api.WaitRequest{ContainerId: c.inside(containerID), ExecId: execID})
	if err != nil {
		return Exit{}, inGuest(err)
	}
	return checkExit(resp.GetExit())
}

// Signal sends a signal to a process, or with all to every process of the container.
// FailedPrecondition when it does not run.
func (c *Client) Signal(ctx context.Context, containerID, execID string, signal int, all bool) error {
	_, err := call(ctx, c.api.Signal, &api.SignalRequest{
		ContainerId: c.inside(containerID), ExecId: execID, Signal: uint32(signal), All: all,
	})
	return inGuest(err)
}

// ResizeTTY sets the window size of a process that has a terminal.
func (c *Client) ResizeTTY(ctx context.Context, containerID, execID string, width, height uint16) error {
	_, err := call(ctx, c.api.ResizeTTY, &api.ResizeTTYRequest{
		ContainerId: c.inside(containerID), ExecId: execID, Width: uint32(width), Height: uint32(height),
	})
	return inGuest(err)
}

// RemoveExec forgets an exec process and kills it first when it still runs.
func (c *Client) RemoveExec(ctx context.Context, containerID, execID string) error {
	_, err := call(ctx, c.api.RemoveExec, &api.RemoveExecRequest{ContainerId: c.inside(containerID), ExecId: execID})
	return inGuest(err)
}

// RemoveContainer kills a container if it runs and frees what it held in the guest. It
// returns what no container uses any more. Gone is not an error, as for RemovePod.
func (c *Client) RemoveContainer(ctx context.Context, containerID string) (Unused, error) {
	resp, err := call(ctx, c.api.RemoveContainer, &api.RemoveContainerRequest{ContainerId: c.inside(containerID)})
	if err != nil {
		return Unused{}, inGuest(err)
	}
	out := Unused{Layers: resp.GetUnusedLayers(), Volumes: resp.GetUnusedVolumes()}
	return out, errors.Join(checkUnused("layer", out.Layers), checkUnused("volume", out.Volumes))
}

// UpdateContainer changes limits; resources is an OCI LinuxResources as JSON.
func (c *Client) UpdateContainer(ctx context.Context, containerID string, resources []byte) error {
	_, err := call(ctx, c.api.UpdateContainer, &api.UpdateContainerRequest{ContainerId: c.inside(containerID), Resources: resources})
	return inGuest(err)
}

// Events calls f for every exit and OOM kill after the one numbered afterSeq, oldest
// first, until ctx ends, the connection breaks or f returns an error. An exit that is
// told twice, or a number that does not grow, ends it with a DataLoss error.
func (c *Client) Events(ctx context.Context, afterSeq uint64, f func(Event) error) error {
	stream, err := c.api.Events(ctx, &api.EventsRequest{AfterSeq: afterSeq})
	if err != nil {
		return inGuest(fromWire(err))
	}
	for last := afterSeq; ; {
		raw, err := stream.Recv()
		if err != nil {
			return inGuest(fromWire(err))
		}
		e, err := checkEvent(raw, last)
		if err != nil {
			return err
		}
		last = e.Seq
		if err := f(e); err != nil {
			return err
		}
	}
}

// inGuest says where an error comes from; what was asked for is the caller's to say.
func inGuest(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("guest: %w", err)
}
