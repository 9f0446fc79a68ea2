package shim

import (
	"context"
	"log/slog"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
)

// keepClock sets the guest's clock from time to time, and soon after the host's was
// changed or the host slept, until ctx ends. It looks once a minute: idle shims are many.
func keepClock(ctx context.Context, set func(context.Context) error, log *slog.Logger) {
	tick := time.NewTicker(clockCheck)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		elapsed := now.Sub(last)                          // by the monotonic clock
		jump := now.Round(0).Sub(last.Round(0)) - elapsed // what the wall clock went beyond it
		if elapsed < clockInterval && jump.Abs() < clockJump {
			continue
		}
		sctx, cancel := context.WithTimeout(ctx, clockCheck/2)
		if err := set(sctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "guest's clock was not set", logkey.Error, err)
		}
		cancel()
		last = now
	}
}
