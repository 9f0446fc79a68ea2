package image

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
)

// join starts n callers of one key and returns what they got, in no order.
func join(ctx context.Context, g *flights, n int, fn func(context.Context) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = g.do(ctx, "key", fn) })
	}
	wg.Wait()
	return errs
}

func TestFlightsShareOneRun(t *testing.T) {
	for name, want := range map[string]error{"success": nil, "unavailable": errdefs.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flights
				var runs atomic.Int32
				hold := make(chan struct{})
				go func() { synctest.Wait(); close(hold) }()
				for _, err := range join(t.Context(), &g, 5, func(context.Context) error {
					runs.Add(1)
					<-hold
					return want
				}) {
					if !errors.Is(err, want) {
						t.Errorf("do = %v, want %v", err, want)
					}
				}
				if runs.Load() != 1 {
					t.Errorf("runs = %d, want 1", runs.Load())
				}
			})
		})
	}
}

func TestFlightsRefusedRunIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flights
		var runs atomic.Int32
		hold := make(chan struct{})
		go func() { synctest.Wait(); close(hold) }()
		refused := 0
		for _, err := range join(t.Context(), &g, 4, func(context.Context) error {
			<-hold
			if runs.Add(1) == 1 {
				return fmt.Errorf("no: %w", errdefs.ErrPermissionDenied)
			}
			return nil
		}) {
			if err != nil {
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("%d callers were refused, want the first alone", refused)
		}
	})
}

func TestFlightsEndWithLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flights
		ctx, cancel := context.WithCancel(t.Context())
		ended := false
		go func() { synctest.Wait(); cancel() }()
		for _, err := range join(ctx, &g, 3, func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return context.Cause(ctx)
		}) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("do = %v, want Canceled", err)
			}
		}
		if !ended {
			t.Error("work goes on though nobody waits")
		}
	})
}

func TestFlightsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flights
		go func() { synctest.Wait(); g.close() }()
		for _, err := range join(t.Context(), &g, 2, func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}) {
			if !errdefs.IsUnavailable(err) {
				t.Errorf("do = %v, want Unavailable", err)
			}
		}
		if err := g.do(t.Context(), "key", nil); !errdefs.IsUnavailable(err) {
			t.Errorf("do after close = %v, want Unavailable", err)
		}
	})
}
