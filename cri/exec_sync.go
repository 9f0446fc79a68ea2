package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// maxExecOutput bounds what ExecSync returns, both streams together, so that the answer
// is a message that every client takes.
const maxExecOutput = maxMessage - 4096

// ExecSync runs a process in a container and returns its output and exit code. Output
// beyond maxExecOutput is read and dropped. When timeout seconds pass, the process is
// killed and the answer is DeadlineExceeded.
func (s *Server) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	timeout, err := seconds("timeout", r.GetTimeout())
	if err != nil {
		return nil, err
	}
	if err := checkCommand(r.GetCmd()); err != nil {
		return nil, err
	}
	c, err := s.running(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	runCtx := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out output
	code, err := s.processes.Exec(runCtx, c.ID, sandbox.ExecSpec{Args: r.GetCmd()},
		sandbox.Streams{Stdout: out.to(&out.stdout), Stderr: out.to(&out.stderr)})
	if err != nil {
		if errors.Is(runCtx.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, fmt.Errorf("exec in container %s: killed after the timeout of %s: %w", c.ID, timeout, context.DeadlineExceeded)
		}
		return nil, err
	}
	stdout, stderr, dropped := out.result()
	if dropped > 0 {
		logkey.Logger(ctx).Warn("exec output cut", logkey.Bytes, dropped)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout, Stderr: stderr, ExitCode: int32(code)}, nil
}

func checkCommand(cmd []string) error {
	if len(cmd) == 0 || cmd[0] == "" {
		return invalid("cmd", "is empty")
	}
	return checkArgs("cmd", cmd)
}

// output collects two streams with one bound over both.
type output struct {
	mu             sync.Mutex // guards all below: the streams are written at once
	stdout, stderr bytes.Buffer
	dropped        int64
}

// to returns the writer that collects into b.
func (o *output) to(b *bytes.Buffer) outputWriter { return outputWriter{o, b} }

// result returns what was collected. A writer that still runs changes none of it.
func (o *output) result() (stdout, stderr []byte, dropped int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.stdout.Bytes()), bytes.Clone(o.stderr.Bytes()), o.dropped
}

type outputWriter struct {
	o *output
	b *bytes.Buffer
}

func (w outputWriter) Write(p []byte) (int, error) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	keep := min(len(p), maxExecOutput-w.o.stdout.Len()-w.o.stderr.Len())
	w.b.Write(p[:keep])
	w.o.dropped += int64(len(p) - keep)
	return len(p), nil
}
