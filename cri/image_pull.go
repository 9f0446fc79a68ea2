package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/phase"
)

// PullImage makes an image complete on this node. The answer is the image's id, the
// same as Image.id and the image_id of its containers.
func (s *Server) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref := r.GetImage().GetImage()
	if err := firstError(
		checkImageRef("image.image", ref),
		s.checkHandler("image.runtime_handler", r.GetImage().GetRuntimeHandler()),
	); err != nil {
		return nil, err
	}
	a := r.GetAuth()
	ctx, ended := s.opts.Journal.Begin(ctx, phase.Call{Name: "PullImage", Image: ref})
	id, err := s.images.Pull(ctx, ref, Auth{
		Username: a.GetUsername(), Password: a.GetPassword(), Auth: a.GetAuth(), ServerAddress: a.GetServerAddress(),
		IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	})
	pod := r.GetSandboxConfig().GetMetadata() // absent when a person pulls
	ended(phase.Pod{UID: pod.GetUid(), Namespace: pod.GetNamespace(), Name: pod.GetName()}, err)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PullImageResponse{ImageRef: id}, nil
}
