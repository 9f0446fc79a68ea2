package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/streaming"
)

// ExecSync runs a process in a container and returns its output and exit code. Output
// beyond what a message can hold is read and dropped. When timeout seconds pass, the
// process is killed and the answer is DeadlineExceeded.
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
	res, err := streaming.Sync(ctx, timeout, func(ctx context.Context, st streaming.Streams) (int, error) {
		return s.processes.Exec(ctx, c.ID, sandbox.ExecSpec{Args: r.GetCmd()}, sandbox.Streams{Stdout: st.Stdout, Stderr: st.Stderr})
	})
	if err != nil {
		return nil, err // names the container
	}
	if res.Truncated {
		logkey.Logger(ctx).Warn("output of exec was cut", logkey.Bytes, len(res.Stdout)+len(res.Stderr))
	}
	return &runtimeapi.ExecSyncResponse{Stdout: res.Stdout, Stderr: res.Stderr, ExitCode: int32(res.ExitCode)}, nil
}

func checkCommand(cmd []string) error {
	if len(cmd) == 0 || cmd[0] == "" {
		return invalid("cmd", "is empty")
	}
	return checkArgs("cmd", cmd)
}
