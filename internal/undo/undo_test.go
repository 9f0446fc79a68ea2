package undo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var s Stack
		if err := s.Run(ctx, time.Second); err != nil {
			t.Errorf("Run of nothing = %v", err)
		}
		var order string
		broken := errors.New("broken")
		s.Push("first", func(ctx context.Context) error { order += "1"; return ctx.Err() })
		s.Push("second", func(ctx context.Context) error { order += "2"; <-ctx.Done(); return ctx.Err() })
		s.Push("third", func(context.Context) error { order += "3"; return broken })
		begin := time.Now()
		err := s.Run(ctx, time.Second)
		if want := "third: broken\nsecond: context deadline exceeded"; err == nil || err.Error() != want || !errors.Is(err, broken) {
			t.Errorf("Run = %v, want %s", err, want)
		}
		if took := time.Since(begin); order != "321" || took != time.Second {
			t.Errorf("order %s in %s, want 321 in a second", order, took)
		}
		if err := s.Run(ctx, time.Second); err != nil || order != "321" {
			t.Errorf("Run again = %v, order %s", err, order)
		}
	})
}
