package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"

	clog "github.com/containerd/log"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/etw"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/rotatelog"
	"github.com/porthole-run/porthole/streaming"
)

// openLog returns the daemon's logger, which writes to the configured file, else to w.
func openLog(c config.Log, w io.Writer) (*slog.Logger, func(), error) {
	if c.File == "" {
		return newLogger(c, w), func() {}, nil
	}
	f, err := rotatelog.Open(rotatelog.Config{Path: c.File, MaxBytes: int64(c.MaxSize), Keep: int(c.MaxFiles)})
	if err != nil {
		return nil, nil, err
	}
	return newLogger(c, f), func() { _ = f.Close() }, nil
}

// newLogger returns the daemon's logger, and makes the libraries that bring a logger of
// their own write to it.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	opts := logkey.HandlerOptions(slog.Level(c.Level))
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if c.Format == "text" {
		h = slog.NewTextHandler(w, opts)
	}
	l := slog.New(traced(h))
	slog.SetDefault(l)
	streaming.RedirectLibraryLog(l)
	clog.L.Logger.SetOutput(libraryLog{l})
	return l
}

// traceProvider is made once, and ends with the process.
var traceProvider = sync.OnceValues(etw.Open)

// traced makes events of Event Tracing for Windows of what is logged, too; elsewhere it
// does nothing. A session hears what it asked for, whatever the log's own level.
func traced(h slog.Handler) slog.Handler {
	p, err := traceProvider()
	if err != nil {
		return h // pods matter more than traces
	}
	return etw.Tee(h, p.Handler())
}

// quietLibraries keeps containerd's libraries from writing to a command's output.
func quietLibraries() { clog.L.Logger.SetOutput(io.Discard) }

// libraryLog passes on the lines of containerd's libraries, at debug: what matters of
// it comes back as errors.
type libraryLog struct{ l *slog.Logger }

func (w libraryLog) Write(p []byte) (int, error) {
	w.l.Log(context.Background(), slog.LevelDebug, "library", "text", string(bytes.TrimSpace(p)))
	return len(p), nil
}
