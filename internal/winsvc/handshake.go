package winsvc

import (
	"context"
	"time"
)

// phase is a state that a service tells the SCM (SERVICE_STATUS.dwCurrentState).
type phase int

const (
	starting phase = iota
	running
	stopping
)

// control is a request of the SCM.
type control int

const (
	interrogate control = iota // tell the state again
	end                        // stop, or the system shuts down
)

// report is what a service tells the SCM.
type report struct {
	phase      phase
	checkpoint uint32        // counts while it starts or stops
	hint       time.Duration // until the next report
}

const (
	// beat is how often a service that starts or stops tells that it is alive.
	beat = 2 * time.Second
	// hint is how long the SCM should wait for the next report.
	hint = 10 * time.Second
)

// handshake runs work and keeps the SCM told, until work has ended. Reports are made by
// the calling goroutine alone.
func handshake(ctx context.Context, controls <-chan control, tell func(report), work func(ctx context.Context, ready func()) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { // ends before handshake does
		done <- work(ctx, func() {
			select {
			case ready <- struct{}{}:
			default:
			}
		})
	}()
	now := report{phase: starting, hint: hint}
	tell(now)
	ticks := time.NewTicker(beat)
	defer ticks.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ready:
			if now.phase == starting {
				now = report{phase: running}
				tell(now)
			}
		case c := <-controls:
			if c == end && now.phase != stopping {
				now = report{phase: stopping, hint: hint}
				cancel()
			}
			tell(now)
		case <-ticks.C:
			if now.phase != running {
				now.checkpoint++
				tell(now)
			}
		}
	}
}
