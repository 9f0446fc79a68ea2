package hcsemu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/network/hcnnet/hnsfake"
)

// Config is what a Service is made from.
type Config struct {
	Drives Drives       // where the callers' files are
	QEMU   string       // "": qemu-system-x86_64
	Log    *slog.Logger // nil: nothing is logged
}

// Service is the emulator.
type Service struct {
	config   Config
	log      *slog.Logger
	hcs      *hcsfake.Service
	hns      *hnsfake.HNS
	machines *machines
	listener net.Listener
	secret   string
	cancel   context.CancelFunc
	wg       sync.WaitGroup // all goroutines

	mu       sync.Mutex // guards the fields below
	closed   bool
	last     uint64 // of the numbers of sessions, contexts and streams
	sessions map[string]*session
	contexts map[uintptr]callback // by what hcsfake knows them by
	streams  map[string]func(net.Conn)
	makers   map[string]*session // by VM: who made it
	conns    map[net.Conn]bool
	taps     map[string]string // by endpoint: what it is plugged into
	started  map[string]string // by process: the VM that it started last
	macs     map[string]string // by endpoint: the address that settle gave it
}

// callback is a callback that a process has set.
type callback struct {
	session *session
	id      string // in the process
}

// Start starts the service on a port of its own.
func Start(c Config) (*Service, error) {
	if c.QEMU == "" {
		c.QEMU = "qemu-system-x86_64"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start hcs: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		config: c, log: c.Log, hcs: hcsfake.New(), hns: hnsfake.New(), taps: map[string]string{}, macs: map[string]string{}, started: map[string]string{}, listener: l, secret: rand.Text(), cancel: cancel,
		sessions: map[string]*session{}, contexts: map[uintptr]callback{}, streams: map[string]func(net.Conn){}, makers: map[string]*session{}, conns: map[net.Conn]bool{},
	}
	s.machines = newMachines(s)
	s.hcs.Translate(c.Drives.Local)
	s.hcs.OnEvent(s.deliver)
	s.hcs.RunOn(s.machines)
	s.wg.Go(func() { s.accept(ctx) })
	return s, nil
}

// Address is what the DLLs are to find in the file hcsemu.service beside them.
func (s *Service) Address() string {
	return fmt.Sprintf("%d %s\n", s.listener.Addr().(*net.TCPAddr).Port, s.secret)
}

// Close ends all VMs and hangs up on all processes, as a service that goes away.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[net.Conn]bool{}
	s.mu.Unlock()
	err := s.listener.Close()
	s.cancel()
	for c := range conns {
		if cerr := c.Close(); !errors.Is(cerr, net.ErrClosed) { // by who serves it
			err = errors.Join(err, cerr)
		}
	}
	s.machines.stopAll()
	s.hcs.Settle()
	s.wg.Wait()
	return err
}

// String is what there is of systems, handles, operations, access, namespaces and endpoints.
func (s *Service) String() string { return s.hcs.String() + s.hns.String() }

// Misuse is what callers did that the reference of HCS forbids.
func (s *Service) Misuse() []string { return s.hcs.Misuse() }

// keep notes a connection, which Close closes; false when that has happened.
func (s *Service) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Service) forget(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	_ = c.Close()
}

func (s *Service) accept(ctx context.Context) {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if !s.keep(c) {
			_ = c.Close()
			return
		}
		s.wg.Go(func() {
			defer s.forget(c)
			s.serve(ctx, c)
		})
	}
}

// serve serves one connection.
func (s *Service) serve(ctx context.Context, c net.Conn) {
	f, err := readFrame(c)
	if err != nil || len(f.strings) < 2 || f.strings[0] != s.secret {
		return
	}
	name := f.strings[1]
	if name == "session" {
		pid := ""
		if len(f.strings) > 2 {
			pid = f.strings[2]
		}
		s.serveSession(c, pid)
		return
	}
	if len(f.strings) < 3 {
		return
	}
	p := s.session(f.strings[2])
	if p == nil {
		_ = writeFrame(c, frame{code: uint32(hcs.ServiceNotAvailable)})
		return
	}
	args := f.strings[3:]
	switch name {
	case "hvsock":
		s.serveSocket(ctx, c, args)
	case "stream":
		s.serveStream(c, args)
	default:
		if !p.begin() {
			return
		}
		defer p.calls.Done()
		out, code := s.call(p, name, args)
		if code.Failed() {
			s.log.Debug("call failed", "call", name, "code", code.String(), "answer", out)
		}
		_ = writeFrame(c, frame{uint32(code), out})
	}
}

// number gives out a number that was not given out before.
func (s *Service) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last
}

func (s *Service) session(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// deliver takes an event of hcsfake to the process whose callback it is for.
func (s *Service) deliver(context uintptr, e hcs.Event) {
	s.mu.Lock()
	cb, ok := s.contexts[context]
	s.mu.Unlock()
	if ok {
		cb.session.send(frame{uint32(e.Type), []string{"event", cb.id, e.Data}})
	}
}
