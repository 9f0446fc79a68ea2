package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	runtimeName = "porthole"
	apiVersion  = "v1"
	// kubeAPIVersion is the version of the version message, which never changed.
	kubeAPIVersion = "0.1.0"
)

// Version tells the kubelet who answers.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: kubeAPIVersion, RuntimeName: runtimeName, RuntimeVersion: s.opts.Version, RuntimeApiVersion: apiVersion,
	}, nil
}
