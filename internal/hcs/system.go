package hcs

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// System is a handle of one compute system.
type System struct {
	host    *Host          // immutable
	id      string         // immutable
	handle  SystemHandle   // immutable
	context uintptr        // immutable; by which events find it
	wg      sync.WaitGroup // the pump and the calls that run
	wake    chan struct{}  // of capacity 1: there is something in queue
	quit    chan struct{}  // closed with the system

	released chan struct{} // closed when the handle is

	mu     sync.Mutex // guards the fields below
	closed bool
	queue  []Event
}

// ID is the system's id.
func (s *System) ID() string { return s.id }

// Start runs the system.
func (s *System) Start(ctx context.Context) error { return s.call(ctx, Start, nil) }

// Terminate ends the system at once. One that has ended already is an Unavailable error.
func (s *System) Terminate(ctx context.Context) error { return s.call(ctx, Terminate, nil) }

// Modify changes the system.
func (s *System) Modify(ctx context.Context, r ModifyRequest) error {
	if err := s.call(ctx, Modify, r); err != nil {
		return fmt.Errorf("%s %s: %w", r.RequestType, r.ResourcePath, err)
	}
	return nil
}

// Pause stops the system's processors.
func (s *System) Pause(ctx context.Context) error { return s.call(ctx, Pause, nil) }

// Resume undoes Pause.
func (s *System) Resume(ctx context.Context) error { return s.call(ctx, Resume, nil) }

// Save writes a paused system to a file.
func (s *System) Save(ctx context.Context, o SaveOptions) error { return s.call(ctx, Save, o) }

// Properties asks for the system's basic properties.
func (s *System) Properties(ctx context.Context) (Properties, error) {
	text, err := s.operate(ctx, GetProperties, "")
	if err != nil {
		return Properties{}, err
	}
	var p Properties
	return p, decode(GetProperties.String(), s.id, text, &p)
}

// Close lets go of the system, once its calls have ended; of a system that ends with its
// last handle, it is the end. There are no events afterwards. When ctx ends before,
// that is the error, and the handle is closed later. It may be called again.
func (s *System) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		s.host.forget(s.context)
		close(s.quit)
		s.host.wg.Go(func() {
			s.wg.Wait()
			s.host.lib.CloseSystem(s.handle)
			close(s.released)
		})
	}
	select {
	case <-s.released:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close compute system %s: its calls go on: %w", s.id, ctx.Err())
	}
}

func (s *System) call(ctx context.Context, v Verb, document any) error {
	text := ""
	if document != nil {
		var err error
		if text, err = encode(document); err != nil {
			return err
		}
	}
	_, err := s.operate(ctx, v, text)
	return err
}

func (s *System) operate(ctx context.Context, v Verb, document string) (string, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return "", fmt.Errorf("%s %s: compute system is closed: %w", v, s.id, errdefs.ErrFailedPrecondition)
	}
	wait := s.host.start(&s.wg, v.String(), s.id, func(o Operation) HRESULT {
		return s.host.lib.Call(v, s.handle, o, document)
	}, nil)
	s.mu.Unlock()
	return wait(ctx)
}

// push queues an event for the pump. It is called by HCS: it does not block.
func (s *System) push(e Event) {
	s.mu.Lock()
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pump hands events to the handler until the system is closed.
func (s *System) pump(handler func(Event)) {
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		events := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, e := range events {
			handler(e)
		}
	}
}
