package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// maxPorts is what the virtio-serial device has room for, the most that QEMU can give.
// Port 0 is not for us, and one is the mux.
const maxPorts = 31

// firstChannel is the number of the first port for a channel: 0 is for a console and 1 is
// the mux.
const firstChannel = 2

// maxChannels is how many channels a VM can have at a time.
const maxChannels = maxPorts - 2

var _ sandbox.Channeler = (*VM)(nil)

// channels are the open channels of a VM by device id.
type channels struct {
	mu    sync.Mutex // guards the rest
	last  int        // number of the last device
	open  map[string]*channel
	names map[string]bool // all that ever were
}

// channel is the host's end of a virtio-serial port of its own.
type channel struct {
	*net.UnixConn
	device string                      // immutable
	remove func(context.Context) error // immutable; takes the device away
	// bound is the context of remove: that of who opened the channel, which may have
	// ended, with a limit of its own.
	bound func() (context.Context, context.CancelFunc)

	once sync.Once
	err  error // of remove

	deleted chan struct{} // closed when QEMU has let go of the device
	opened  bool          // the guest has opened its end; guarded by channels.mu

	name    string // immutable, as number
	number  int    // of the port in the device
	claimed bool   // OpenChannel gave it out: of a restored one later; guarded by channels.mu
}

// OpenChannel implements sandbox.Channeler: it hot-adds a virtio-serial port. A further
// one than the device has room for is ResourceExhausted. When the guest closes its end,
// reads of the conn return io.EOF.
func (v *VM) OpenChannel(ctx context.Context, name string) (net.Conn, error) {
	c, err := v.openChannel(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open channel %s: %w", name, err)
	}
	return c, nil
}

func (v *VM) openChannel(ctx context.Context, name string) (*channel, error) {
	client, err := v.client()
	if err != nil {
		return nil, err
	}
	if c := v.channels.claim(name); c != nil {
		return c, nil
	}
	v.still.RLock()
	defer v.still.RUnlock()
	return v.addChannel(ctx, client, name, 0)
}

// addChannel hot-adds a port, of a number if it is not 0.
func (v *VM) addChannel(ctx context.Context, client *qmp.Client, name string, number int) (*channel, error) {
	p, err := newPair()
	if err != nil {
		return nil, err
	}
	defer p.guest.Close() // QEMU has its own copy
	c := &channel{UnixConn: p.host, deleted: make(chan struct{}), name: name, number: number, claimed: number == 0}
	if err := v.channels.reserve(c, name); err != nil {
		_ = p.host.Close()
		return nil, err
	}
	c.bound = func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	}
	c.remove = func(ctx context.Context) error {
		err := unplugChannel(ctx, client, c)
		if err == nil || errdefs.IsUnavailable(err) {
			v.channels.forget(c) // of a port that stays, the room is lost
			return nil
		}
		return err
	}
	if err := plugChannel(ctx, client, c, p.guest); err != nil {
		return nil, v.orGone(errors.Join(err, c.Close()))
	}
	return c, nil
}

// plugChannel makes a port in QEMU whose other end is f, all steps in one go.
func plugChannel(ctx context.Context, client *qmp.Client, c *channel, f *os.File) error {
	device := c.device
	results := client.Do(ctx,
		qmp.Command{Name: "getfd", Args: map[string]any{"fdname": device}, File: f},
		qmp.Command{Name: "chardev-add", Args: map[string]any{
			"id": device,
			"backend": map[string]any{"type": "socket", "data": map[string]any{
				"addr":   map[string]any{"type": "fd", "data": map[string]any{"str": device}},
				"server": false,
			}},
		}},
		qmp.Command{Name: "device_add", Args: map[string]any{
			"driver": "virtserialport", "id": device, "chardev": device, "name": c.name, "nr": c.number,
		}},
	)
	for _, r := range results {
		if r.Err != nil {
			return r.Err // those that follow it failed because of it
		}
	}
	return nil
}

// unplugChannel takes apart what is there of a port, whatever the guest does with it.
func unplugChannel(ctx context.Context, client *qmp.Client, c *channel) error {
	_, err := client.Run(ctx, "device_del", map[string]any{"id": c.device})
	plugged := err == nil
	if plugged {
		select {
		case <-c.deleted:
		case <-client.Done():
			return client.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for device: %w", ctx.Err())
		}
	} else if !refused(err) {
		return err
	}
	// A device that is gone lets go of its chardev a moment later.
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	for {
		_, err = client.Run(ctx, "chardev-remove", map[string]any{"id": c.device})
		if err == nil || !refused(err) {
			return err
		}
		if !plugged { // opening failed half way: there may be neither chardev nor device
			_, err = client.Run(ctx, "closefd", map[string]any{"fdname": c.device})
			if refused(err) {
				return nil
			}
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Close closes the host's end and takes the device away. It may be called again.
func (c *channel) Close() error {
	c.once.Do(func() {
		ctx, cancel := c.bound()
		defer cancel()
		_ = c.UnixConn.Close()
		if err := c.remove(ctx); err != nil {
			c.err = fmt.Errorf("close channel: %w", err)
		}
	})
	return c.err
}

// reserve takes room for a channel and names its device.
func (s *channels) reserve(c *channel, name string) error {
	if name == "" || name == api.SerialPort {
		return fmt.Errorf("name %q: %w", name, errdefs.ErrInvalidArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open, s.names = map[string]*channel{}, map[string]bool{}
	}
	switch {
	case s.names[name]:
		return fmt.Errorf("the name was used before: %w", errdefs.ErrAlreadyExists)
	case len(s.open) >= maxChannels:
		return fmt.Errorf("vm has %d channels: %w", maxChannels, errdefs.ErrResourceExhausted)
	}
	if c.number == 0 {
		c.number = s.freeNumber()
	}
	s.last = max(s.last+1, c.number)
	c.device = fmt.Sprintf("channel%d", s.last)
	s.open[c.device], s.names[name] = c, true
	return nil
}

// freeNumber is the lowest number of a port that none has; below maxPorts, as there are
// fewer than maxChannels.
func (s *channels) freeNumber() int {
	taken := map[int]bool{}
	for _, c := range s.open {
		taken[c.number] = true
	}
	n := firstChannel
	for taken[n] {
		n++
	}
	return n
}

// claim gives out a channel that the VM was restored with; nil: there is none of the name.
func (s *channels) claim(name string) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		if c.name == name && !c.claimed {
			c.claimed = true
			return c
		}
	}
	return nil
}

func (s *channels) forget(c *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c.device)
}

// gone takes QEMU's word that a device is gone.
func (s *channels) gone(device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[device]
	if c == nil {
		return
	}
	select {
	case <-c.deleted:
	default:
		close(c.deleted)
	}
}

// changed takes QEMU's word that the guest has opened or closed a port. A port that was
// closed says no more: its reader hears of that.
func (s *channels) changed(device string, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[device]
	switch {
	case c == nil:
	case open:
		c.opened = true
	case c.opened:
		_ = c.CloseRead()
	}
}
