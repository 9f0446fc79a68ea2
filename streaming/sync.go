package streaming

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// MaxSyncOutput bounds what is kept of each output of a command run by Sync.
	MaxSyncOutput = 16 << 20
	// maxSyncAnswer bounds both together: CRI clients take messages of 16 MiB.
	maxSyncAnswer = MaxSyncOutput - 4096
)

// Result is how a command ended that Sync ran.
type Result struct {
	ExitCode       int
	Stdout, Stderr []byte
	Truncated      bool // there was more output than is kept
}

// Sync calls run with streams that keep the command's output, for clients that want
// it in one piece. Output over the bounds is taken and thrown away, so that the command
// does not hang. When timeout, unless 0, passes first, run's context ends and the error
// is DeadlineExceeded.
func Sync(ctx context.Context, timeout time.Duration, run func(ctx context.Context, s Streams) (exitCode int, err error)) (Result, error) {
	errTimeout := fmt.Errorf("command did not end within %s: %w", timeout, context.DeadlineExceeded)
	runCtx := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
	}
	stdout, stderr := NewCapture(MaxSyncOutput), NewCapture(MaxSyncOutput)
	code, err := run(runCtx, Streams{Stdout: stdout, Stderr: stderr})
	if err != nil {
		if errors.Is(context.Cause(runCtx), errTimeout) {
			return Result{}, errTimeout
		}
		return Result{}, err
	}
	r := Result{ExitCode: code, Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	r.Truncated = stdout.Truncated() || stderr.Truncated()
	if over := len(r.Stdout) + len(r.Stderr) - maxSyncAnswer; over > 0 {
		r.Truncated = true
		// Half for each, and what one does not need for the other.
		keep := max(maxSyncAnswer/2, maxSyncAnswer-len(r.Stdout))
		r.Stderr = r.Stderr[:min(len(r.Stderr), keep)]
		r.Stdout = r.Stdout[:min(len(r.Stdout), maxSyncAnswer-len(r.Stderr))]
	}
	return r, nil
}

// Capture is a writer that keeps the first bytes written to it and takes the rest
// without keeping it. It is safe for concurrent use.
type Capture struct {
	limit int

	mu        sync.Mutex // guards all below
	kept      []byte
	truncated bool
}

// NewCapture makes a Capture that keeps up to limit bytes.
func NewCapture(limit int) *Capture { return &Capture{limit: limit} }

// Write implements io.Writer. It takes all of p and never fails.
func (c *Capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(p), c.limit-len(c.kept))
	c.kept = append(c.kept, p[:n]...)
	c.truncated = c.truncated || n < len(p)
	return len(p), nil
}

// Bytes returns what is kept. It must not be changed.
func (c *Capture) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// Truncated tells whether more was written than is kept.
func (c *Capture) Truncated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.truncated
}
