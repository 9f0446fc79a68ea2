package fusemount

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a stream: one for a relay, one for a server in this
// process. It is for a server whose own process also uses the mount: its end does not
// pass through the runtime's poller, which would wait for the server to answer whether a
// file on the mount can be polled.
func Pair() (relay *os.File, server *Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "share"), &Conn{fd: fds[1]}, nil
}

// Conn is the server's end of a stream, for one reader and any number of writers.
type Conn struct {
	fd   int // immutable
	once sync.Once
	mu   sync.RWMutex // held for reading while fd is used, for writing when it is closed
	gone bool         // guarded by mu
}

var _ io.ReadWriteCloser = (*Conn)(nil)

func (c *Conn) Read(b []byte) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.gone {
		return 0, os.ErrClosed
	}
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.ECONNRESET: // the relay ended before it had read all
			return 0, io.EOF
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (c *Conn) Write(b []byte) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.gone {
		return 0, os.ErrClosed
	}
	for done := 0; ; {
		// Not write: the end of the relay must not be a SIGPIPE.
		n, err := unix.SendmsgN(c.fd, b[done:], nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, os.NewSyscallError("write", err)
		}
		if done += n; done == len(b) {
			return done, nil
		}
	}
}

// Close ends both directions, wakes who reads or writes, and waits for them.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		unix.Shutdown(c.fd, unix.SHUT_RDWR) // the other end may have gone
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gone = true
		err = unix.Close(c.fd)
	})
	return err
}
