package mux

import (
	"context"
	"fmt"

	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/endpoint"
)

// Ask returns the name and version of the runtime at an endpoint.
func Ask(ctx context.Context, at string) (string, error) {
	dial, err := endpoint.Dialer(at)
	if err != nil {
		return "", err
	}
	s, err := newSide("upstream", dial)
	if err != nil {
		return "", err
	}
	defer s.conn.Close()
	v, err := s.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", fmt.Errorf("%s: %s", at, status.Convert(err).Message())
	}
	return v.GetRuntimeName() + " " + v.GetRuntimeVersion(), nil
}
