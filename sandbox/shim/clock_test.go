package shim

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeepClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 210*time.Second)
		defer cancel()
		n := 0
		keepClock(ctx, func(context.Context) error {
			n++
			return errors.New("not now") // does not end it
		}, slog.New(slog.DiscardHandler))
		if n != 3 {
			t.Errorf("the clock was set %d times in 3.5 minutes, want 3", n)
		}
	})
}
