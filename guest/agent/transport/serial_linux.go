package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SerialPort is an open virtio-serial port. It stays open for the agent's life, since a
// port may be opened once at a time; sessions come and go on it.
type SerialPort struct {
	f *os.File
}

// OpenSerial waits until the virtio-serial port of the given name is there, and opens
// it. The index in a port's device name changes with the VM's devices, so that only the
// name in sysfs tells, and the device comes some time after its driver.
func OpenSerial(ctx context.Context, name string) (*SerialPort, error) {
	wait := time.NewTicker(2 * time.Millisecond)
	defer wait.Stop()
	for {
		f, err := openNamed(name)
		if err == nil {
			return &SerialPort{f: f}, nil
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("open virtio-serial port %q: %w: %w", name, err, ctx.Err())
		}
	}
}

// OpenChannel opens a virtio-serial port that carries one stream of its own, once the
// host has opened its end.
func OpenChannel(ctx context.Context, name string) (*os.File, error) {
	p, err := OpenSerial(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := p.Session(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p.f, nil
}

func openNamed(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, p := range names {
		b, err := os.ReadFile(p)
		if err != nil || strings.TrimSpace(string(b)) != name {
			continue
		}
		dev := "/dev/" + filepath.Base(filepath.Dir(p))
		fd, err := unix.Open(dev, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: dev, Err: err}
		}
		return os.NewFile(uintptr(fd), dev), nil
	}
	return nil, fmt.Errorf("no such port among %d: %w", len(names), os.ErrNotExist)
}

// Session waits until the host has its end of the port open and returns the bytes that
// go through until it closes it, which is read as io.EOF. One session may be open at a
// time. Closing the session does not close the port.
func (p *SerialPort) Session(ctx context.Context) (io.ReadWriteCloser, error) {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := p.f.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { p.f.SetDeadline(time.Now()) })
	defer stop()
	// A port polls as hung up while the host's end is closed. The runtime's poller is
	// edge-triggered, and the driver wakes it when the host opens its end.
	err = raw.Write(func(fd uintptr) bool { return !hungUp(int(fd)) })
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("wait for the host's end of the virtio-serial port: %w", err)
	}
	return &serialSession{f: p.f}, nil
}

// Close closes the port.
func (p *SerialPort) Close() error { return p.f.Close() }

func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		if _, err := unix.Poll(fds, 0); !errors.Is(err, unix.EINTR) {
			return fds[0].Revents&unix.POLLHUP != 0
		}
	}
}

// serialSession is the port between the host's opening and closing of its end.
type serialSession struct {
	f    *os.File
	once sync.Once
}

func (s *serialSession) Read(b []byte) (int, error)  { return s.f.Read(b) }
func (s *serialSession) Write(b []byte) (int, error) { return s.f.Write(b) }

// Close wakes reads and writes in flight and makes them fail from then on.
func (s *serialSession) Close() error {
	var err error
	s.once.Do(func() { err = s.f.SetDeadline(time.Unix(1, 0)) })
	return err
}
