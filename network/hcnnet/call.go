package hcnnet

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// defaultPatience bounds one call of HNS. HNS answers in milliseconds, and in
	// seconds while it makes a network.
	defaultPatience = time.Minute
	// maxCalls bounds the calls under way, and so what a HNS that hangs holds.
	maxCalls = 32
)

// caller lets calls of HNS be waited for with a context. A call that was given up goes on:
// HNS's calls cannot be ended.
type caller struct {
	patience time.Duration // immutable
	slots    chan struct{} // holds a value for each call under way
}

func newCaller(patience time.Duration) *caller {
	return &caller{patience: patience, slots: make(chan struct{}, maxCalls)}
}

// ask runs f, a call of HNS, and waits for it until ctx ends or the caller's patience does.
func ask[T any](ctx context.Context, c *caller, what string, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	done := make(chan answer, 1)
	if err := context.Cause(ctx); err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", what, err)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s: %d calls of HNS wait for their answers: %s: %w: %w", what, maxCalls, restart, errdefs.ErrUnavailable, context.Cause(ctx))
	}
	go func() { // wait waits for it
		defer func() { <-c.slots }()
		v, err := f()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s: HNS does not answer: %s: %w: %w", what, restart, errdefs.ErrUnavailable, context.Cause(ctx))
	}
}

// do is ask for calls that return an error alone.
func (c *caller) do(ctx context.Context, what string, f func() error) error {
	_, err := ask(ctx, c, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// wait waits until no call is under way, or ctx ends. Calls that begin meanwhile wait.
func (c *caller) wait(ctx context.Context) error {
	for taken := range maxCalls {
		select {
		case c.slots <- struct{}{}:
			defer func() { <-c.slots }()
		case <-ctx.Done():
			return fmt.Errorf("%d calls of HNS go on: %w", len(c.slots)-taken, context.Cause(ctx))
		}
	}
	return nil
}

const restart = "if that lasts, restart it (Restart-Service hns)"
