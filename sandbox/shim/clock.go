package shim

import (
	"context"
	"log/slog"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
)

// keepClock compares the guest's clock with the host's, and sets it when it is off, until
// ctx ends. It does so once a minute: idle shims are many.
func keepClock(ctx context.Context, set func(context.Context) error, log *slog.Logger) {
	tick := time.NewTicker(clockCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sctx, cancel := context.WithTimeout(ctx, clockCheck/2)
		if err := set(sctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "guest's clock was not set", logkey.Error, err)
		}
		cancel()
	}
}
