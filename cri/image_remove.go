package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RemoveImage removes an image with all its names. One that is gone is removed.
func (s *Server) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	ref := r.GetImage().GetImage()
	if err := checkImageRef("image.image", ref); err != nil {
		return nil, err
	}
	if err := gone(s.images.Remove(ctx, ref)); err != nil {
		return nil, err
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}
