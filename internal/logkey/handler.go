package logkey

import (
	"log/slog"
	"time"
)

// HandlerOptions are those of all log handlers, of the daemon and of the shims, so that
// their lines read alike: durations as people write them, where JSON would have
// nanoseconds.
func HandlerOptions(level slog.Level) *slog.HandlerOptions {
	return &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}}
}
