//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/stdio"
	"github.com/porthole-run/porthole/guest/api"
)

// process is a container's own process or an exec.
type process struct {
	proc *reap.Process
	io   *processIO
	done chan struct{} // closed when exit is set and told
	exit *api.Exit     // set before done is closed
}

// exited says whether the process has exited.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// processIO joins a process's stdio to the host's streams.
type processIO struct {
	terminal bool
	streams  []stdio.Stream // stdin, stdout, stderr; nil ones are not there
	joints   []*stdio.Joint // the streams, where others may take their places
	child    [3]*os.File    // the process's ends, open until it has them
	wg       sync.WaitGroup // relays

	mu   sync.Mutex // guards the rest
	ours [3]*os.File
	tty  *os.File
}

// openIO claims the streams of a request and makes the pipes they are joined to.
// With lasting, they outlive a connection to the host: others may take their places.
func (a *Agent) openIO(ctx context.Context, s *api.Stdio, lasting bool) (*processIO, error) {
	p := &processIO{terminal: s.GetTerminal()}
	if p.terminal && s.Stderr != 0 {
		return nil, invalid("stderr is not used with a terminal")
	}
	if s.GetWidth() > 0xffff || s.GetHeight() > 0xffff {
		return nil, invalid("window of %dx%d", s.Width, s.Height)
	}
	var err error
	if p.streams, err = a.streams.Claim(ctx, s.GetStdin(), s.GetStdout(), s.GetStderr()); err != nil {
		return nil, err
	}
	if lasting {
		p.join()
	}
	if p.terminal {
		return p, nil
	}
	for i, stream := range p.streams {
		if stream == nil {
			continue
		}
		// Not os.Pipe: the process's end must block, and only ours must not.
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			p.close()
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		child, ours := fds[0], fds[1]
		if i > 0 {
			child, ours = fds[1], fds[0]
		}
		err := unix.SetNonblock(ours, true)
		p.child[i], p.ours[i] = os.NewFile(uintptr(child), "pipe"), os.NewFile(uintptr(ours), "pipe")
		if err != nil {
			p.close()
			return nil, fmt.Errorf("make pipe: %w", err)
		}
	}
	return p, nil
}

// join makes the streams ones that can be replaced.
func (p *processIO) join() {
	p.joints = make([]*stdio.Joint, len(p.streams))
	for i, s := range p.streams {
		if s != nil {
			p.joints[i] = stdio.NewJoint(s)
			p.streams[i] = p.joints[i]
		}
	}
}

// rejoin puts other streams in the places of those that a host which is gone has left. Those
// for which there is no place are closed.
func (p *processIO) rejoin(streams []stdio.Stream) {
	for i, s := range streams {
		switch {
		case s == nil:
		case i < len(p.joints) && p.joints[i] != nil:
			p.joints[i].Rejoin(s)
		default:
			s.Close()
		}
	}
}

// start begins to move bytes. The process has its ends.
func (p *processIO) start(tty *os.File, width, height uint32) {
	p.closeChild()
	p.mu.Lock()
	p.tty = tty
	in, outs := p.ours[0], p.ours
	p.mu.Unlock()
	if tty != nil {
		p.resize(width, height)
		if s := p.streams[0]; s != nil {
			p.wg.Go(func() { stdio.TerminalInput(tty, s); s.Close() })
		}
		p.wg.Go(func() {
			if s := p.streams[1]; s != nil {
				stdio.Output(s, tty)
				s.Close()
			} else {
				stdio.Discard(tty)
			}
		})
		return
	}
	if s := p.streams[0]; s != nil {
		p.wg.Go(func() { stdio.Input(in, s); s.Close() })
	}
	for i := 1; i < 3; i++ {
		if s := p.streams[i]; s != nil {
			p.wg.Go(func() { stdio.Output(s, outs[i]); outs[i].Close(); s.Close() })
		}
	}
}

// resize sets the terminal's window.
func (p *processIO) resize(width, height uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty == nil {
		return fmt.Errorf("process has no terminal: %w", errdefs.ErrFailedPrecondition)
	}
	if width == 0 || height == 0 {
		return nil // unknown
	}
	raw, err := p.tty.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)})
	})
	return errors.Join(err, setErr)
}

// endInput ends stdin once the process has exited; its output goes on until all who
// hold its other end are gone.
func (p *processIO) endInput() {
	if s := p.streams[0]; s != nil {
		s.Close()
	}
}

func (p *processIO) closeChild() {
	for i, f := range p.child {
		if f != nil {
			f.Close()
			p.child[i] = nil
		}
	}
}

// close ends everything and waits for the relays.
func (p *processIO) close() {
	p.closeChild()
	p.mu.Lock()
	for _, f := range append(p.ours[:], p.tty) {
		if f != nil {
			f.Close()
		}
	}
	p.tty = nil
	p.mu.Unlock()
	for _, s := range p.streams {
		if s != nil {
			s.Close()
		}
	}
	p.wg.Wait()
}
