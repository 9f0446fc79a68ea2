package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// watchdog ends a context when nothing has moved for a while.
type watchdog struct {
	every time.Duration
	cause func() error // why the context ended
	timer *time.Timer
	end   context.CancelCauseFunc
}

func newWatchdog(ctx context.Context, every time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{every: every, end: cancel, cause: func() error { return context.Cause(ctx) }}
	w.timer = time.AfterFunc(every, func() { cancel(errStalled) })
	return ctx, w
}

func (w *watchdog) kick() { w.timer.Reset(w.every) }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.end(nil)
}

// explain puts the stall into an error that only says that the context ended.
func (w *watchdog) explain(err error) error {
	if err != nil && errors.Is(w.cause(), errStalled) {
		return fmt.Errorf("%w: %w", errStalled, err)
	}
	return err
}

// watchedReader reports each read. It can seek when the stream beneath can, which is
// how containerd resumes a download.
type watchedReader struct {
	io.Reader
	seeker io.Seeker
	read   func(n int)
}

func (r *watchedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.read(n)
	}
	return n, err
}

func (r *watchedReader) Seek(offset int64, whence int) (int64, error) {
	if r.seeker == nil {
		return 0, errors.New("stream cannot seek")
	}
	return r.seeker.Seek(offset, whence)
}
