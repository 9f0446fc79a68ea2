package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"

	clog "github.com/containerd/log"

	"github.com/porthole-run/porthole/cmd/porthole/config"
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
	var l *slog.Logger
	if c.Format == "text" {
		l = slog.New(slog.NewTextHandler(w, opts))
	} else {
		l = slog.New(slog.NewJSONHandler(w, opts))
	}
	slog.SetDefault(l)
	streaming.RedirectLibraryLog(l)
	clog.L.Logger.SetOutput(libraryLog{l})
	return l
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
