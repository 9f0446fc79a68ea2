package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/tame"
)

// Conn is the socket to QEMU.
type Conn interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

// FileWriter is a Conn that can pass an open file along with bytes.
type FileWriter interface {
	WriteFile(b []byte, f *os.File) error
}

// Client is one connection to QEMU.
type Client struct {
	conn    Conn
	onEvent func(Event)
	done    chan struct{} // closed when the reader has ended

	// files lets one command with a file be under way at a time: QEMU keeps only the last
	// descriptor it was sent until a command takes it. It is given back when that command is
	// answered, whoever still waits for that, and not with its batch: the commands that
	// follow one with a file need not keep the next file waiting.
	files chan struct{}
	write sync.Mutex // held while a batch is written

	mu      sync.Mutex // guards the fields below
	lastID  uint64
	pending map[uint64]pending
	err     error // why the connection ended
}

type pending struct {
	name string
	ch   chan Result // of capacity 1: the reader never waits
	file bool        // it holds files
}

// New takes over conn, waits for QEMU's greeting and leaves negotiation mode. Events
// go to onEvent, in order, from the reader's goroutine: it must not block and must not
// run commands. On error conn is closed.
func New(ctx context.Context, conn Conn, onEvent func(Event)) (*Client, error) {
	c := &Client{
		conn:    conn,
		onEvent: onEvent,
		done:    make(chan struct{}),
		files:   make(chan struct{}, 1),
		pending: make(map[uint64]pending),
	}
	greeting := make(chan struct{})
	go c.read(greeting)

	select {
	case <-greeting:
	case <-c.done:
		return nil, fmt.Errorf("greet qemu: %w", c.Err())
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("greet qemu: %w", ctx.Err())
	}
	if _, err := c.Run(ctx, "qmp_capabilities", nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Run runs one command and returns its answer.
func (c *Client) Run(ctx context.Context, name string, args any) (json.RawMessage, error) {
	r := c.Do(ctx, Command{Name: name, Args: args})
	return r[0].Value, r[0].Err
}

// Do writes the commands at once and waits for all their answers, in order. QEMU runs
// each whether or not those before it were refused. Refusals are of type *Error; after
// the connection ended results are Unavailable; a command whose answer did not come
// before ctx ended may or may not have run. Of the commands one at most has a file.
func (c *Client) Do(ctx context.Context, cmds ...Command) []Result {
	results := make([]Result, len(cmds))
	fail := func(err error) []Result {
		for i := range results {
			if results[i].Err == nil && results[i].Value == nil {
				results[i].Err = fmt.Errorf("qmp %s: %w", cmds[i].Name, err)
			}
		}
		return results
	}
	for _, cmd := range cmds {
		if cmd.File == nil {
			continue
		}
		select {
		case c.files <- struct{}{}:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
		break
	}

	waits, err := c.send(ctx, cmds)
	if err != nil {
		return fail(err)
	}
	for i, ch := range waits {
		select {
		case results[i] = <-ch:
			continue
		default:
		}
		select {
		case results[i] = <-ch:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	return results
}

// send writes the commands and returns where their answers will come. With a file among
// them the caller has taken files, which is given back here if not with an answer.
func (c *Client) send(ctx context.Context, cmds []Command) ([]chan Result, error) {
	holds := slices.ContainsFunc(cmds, func(cmd Command) bool { return cmd.File != nil })
	defer func() {
		if holds {
			<-c.files
		}
	}()
	c.write.Lock()
	defer c.write.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = c.conn.SetWriteDeadline(time.Time{})
		}
	}()

	waits := make([]chan Result, len(cmds))
	for i, cmd := range cmds {
		id, ch, err := c.expect(cmd)
		if err != nil {
			return nil, err
		}
		waits[i] = ch
		if cmd.File != nil {
			holds = false
		}
		line, err := json.Marshal(request{Execute: cmd.Name, Arguments: cmd.Args, ID: id})
		if err != nil {
			c.settle(id)
			return nil, fmt.Errorf("marshal arguments: %w", err)
		}
		if err := c.put(append(line, '\n'), cmd.File); err != nil {
			// Part of a line may be out: nothing sensible can follow it.
			c.fail(fmt.Errorf("write to qemu: %w: %w", errdefs.ErrUnavailable, err))
			return nil, c.Err()
		}
	}
	return waits, nil
}

func (c *Client) put(line []byte, f *os.File) error {
	if f == nil {
		_, err := c.conn.Write(line)
		return err
	}
	w, ok := c.conn.(FileWriter)
	if !ok {
		return fmt.Errorf("pass a file: %w", errors.ErrUnsupported)
	}
	return w.WriteFile(line, f)
}

// expect makes a place for the answer to a command about to be sent.
func (c *Client) expect(cmd Command) (uint64, chan Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	ch := make(chan Result, 1)
	c.pending[c.lastID] = pending{name: cmd.Name, ch: ch, file: cmd.File != nil}
	return c.lastID, ch, nil
}

// settle takes a command out of those that wait, and lets the next one with a file go.
func (c *Client) settle(id uint64) (p pending, ok bool) {
	c.mu.Lock()
	p, ok = c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if p.file {
		<-c.files
	}
	return p, ok
}

// read takes what QEMU sends until the connection ends.
func (c *Client) read(greeting chan struct{}) {
	defer close(c.done)
	s := bufio.NewScanner(c.conn)
	s.Buffer(make([]byte, 4096), MaxLine)
	greeted := false
	for s.Scan() {
		if len(s.Bytes()) == 0 {
			continue
		}
		m, err := parse(s.Bytes())
		switch {
		case err != nil:
		case m.Greeting != nil:
			if greeted {
				err = errors.New("second greeting")
				break
			}
			greeted = true
			close(greeting)
		case m.Event != "":
			c.onEvent(Event{Name: m.Event, Data: m.Data})
		default:
			err = c.answer(m)
		}
		if err != nil {
			c.fail(fmt.Errorf("read from qemu: %w: %w", errdefs.ErrUnavailable, err))
			return
		}
	}
	err := s.Err()
	if err == nil {
		err = io.EOF
	}
	c.fail(fmt.Errorf("read from qemu: %w: %w", errdefs.ErrUnavailable, err))
}

// answer hands an answer to the command that waits for it.
func (c *Client) answer(m message) error {
	if m.ID == nil {
		if m.Error != nil {
			return fmt.Errorf("refusal without an id: %s", tame.Line(m.Error.Desc, 200))
		}
		return errors.New("answer without an id")
	}
	p, ok := c.settle(*m.ID)
	if !ok {
		return fmt.Errorf("answer to unknown id %d", *m.ID)
	}
	if m.Error != nil {
		p.ch <- Result{Err: &Error{
			Command: p.name,
			Class:   tame.Line(m.Error.Class, 40),
			Desc:    tame.Line(m.Error.Desc, 400),
		}}
		return nil
	}
	p.ch <- Result{Value: m.Return}
	return nil
}

// fail ends the connection with err, unless it has ended already.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	waiting := c.pending
	c.pending = nil
	c.mu.Unlock()
	_ = c.conn.Close()
	for _, p := range waiting {
		if p.file {
			<-c.files
		}
		p.ch <- Result{Err: fmt.Errorf("qmp %s: %w", p.name, err)}
	}
}

// Close ends the connection; commands that wait get Unavailable. It may be called again.
func (c *Client) Close() error {
	c.fail(fmt.Errorf("connection to qemu closed: %w", errdefs.ErrUnavailable))
	<-c.done
	return nil
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
