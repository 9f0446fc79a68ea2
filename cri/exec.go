package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Exec returns a URL under which a process will run in a container.
func (s *Server) Exec(ctx context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if err := firstError(checkCommand(r.GetCmd()), checkStreams(r)); err != nil {
		return nil, err
	}
	c, err := s.running(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	url, err := s.streams.ExecURL(ctx, ExecURL{
		ContainerID: c.ID, Cmd: r.GetCmd(), TTY: r.GetTty(),
		Stdin: r.GetStdin(), Stdout: r.GetStdout(), Stderr: r.GetStderr(),
	})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ExecResponse{Url: url}, nil
}

// checkStreams holds the CRI's rules: some stream is wanted, and a terminal has no
// standard error of its own.
func checkStreams(r interface {
	GetTty() bool
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
}) error {
	if r.GetTty() && r.GetStderr() {
		return invalid("stderr", "is set together with tty, which has no stderr of its own")
	}
	if !r.GetStdin() && !r.GetStdout() && !r.GetStderr() {
		return invalid("stdin, stdout, stderr", "none of them is set")
	}
	return nil
}
