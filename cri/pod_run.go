package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunPodSandbox makes and starts a pod sandbox.
func (s *Server) RunPodSandbox(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := s.checkHandler("runtime_handler", r.GetRuntimeHandler()); err != nil {
		return nil, err
	}
	asked := r
	var err error
	if s.opts.Dialect != nil {
		if r, err = s.opts.Dialect.Pod(ctx, r); err != nil {
			return nil, err
		}
	}
	c, err := podConfig(r.GetConfig(), r.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	showNetwork(&c, asked.GetConfig())
	if err := takeGroup(&c, r.GetConfig(), asked.GetConfig()); err != nil {
		return nil, err
	}
	id, err := s.pods.RunPod(ctx, c)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (s *Server) checkHandler(field, name string) error {
	if !s.handlers[name] {
		return invalid(field, "no runtime handler %q is configured", clean(name, maxName))
	}
	return nil
}
