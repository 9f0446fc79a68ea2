package hcnnet

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

// TestAsk_HNSHangs gives up calls that HNS does not answer, and takes no more than a
// number of them.
func TestAsk_HNSHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(time.Minute)
		release := make(chan struct{})
		hang := func() error { <-release; return nil }
		start := time.Now()
		if err := c.do(t.Context(), "delete endpoint", hang); !errdefs.IsUnavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("do = %v, want Unavailable and the deadline", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("gave up after %v, want a minute", d)
		}
		for range maxCalls - 1 { // the first one's place is taken still
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := c.do(ctx, "delete endpoint", hang); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("do = %v, want the context's end", err)
			}
			cancel()
		}
		ran := false
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := c.do(ctx, "delete endpoint", func() error { ran = true; return nil }); !errdefs.IsUnavailable(err) || ran {
			t.Errorf("call %d = %v, ran = %t, want it not to begin", maxCalls+1, err, ran)
		}
		if err := c.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait = %v while calls go on", err)
		}
		cancel()
		close(release)
		if err := c.wait(t.Context()); err != nil {
			t.Errorf("wait = %v", err)
		}
		if err := c.do(t.Context(), "delete endpoint", func() error { return nil }); err != nil {
			t.Errorf("do after HNS answers again = %v", err)
		}
	})
}

func TestAsk_Answers(t *testing.T) {
	want := errors.New("no")
	n, err := ask(t.Context(), newCaller(time.Minute), "count", func() (int, error) { return 7, want })
	if n != 7 || !errors.Is(err, want) {
		t.Errorf("ask = %d, %v", n, err)
	}
}
