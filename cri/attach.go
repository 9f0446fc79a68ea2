package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Attach returns a URL under which a container's own streams are joined. Whether there
// is a terminal is the container's to say.
func (s *Server) Attach(ctx context.Context, r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if err := checkStreams(r); err != nil {
		return nil, err
	}
	c, err := s.running(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	if r.GetTty() != c.Config.TTY {
		return nil, invalid("tty", "is %t, the container's is %t", r.GetTty(), c.Config.TTY)
	}
	url, err := s.streams.AttachURL(ctx, AttachURL{
		ContainerID: c.ID, TTY: r.GetTty(), Stdin: r.GetStdin(), Stdout: r.GetStdout(), Stderr: r.GetStderr(),
	})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.AttachResponse{Url: url}, nil
}
