package cri

import (
	"context"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListImages lists all images, or the one that the filter names.
func (s *Server) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	resp := &runtimeapi.ListImagesResponse{}
	if ref := r.GetFilter().GetImage().GetImage(); ref != "" {
		if err := checkImageRef("filter.image.image", ref); err != nil {
			return nil, err
		}
		img, err := s.images.Image(ctx, ref)
		if errdefs.IsNotFound(err) {
			return resp, nil
		}
		if err != nil {
			return nil, err
		}
		resp.Images = append(resp.Images, imageMessage(img))
		return resp, nil
	}
	all, err := s.images.Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, img := range all {
		resp.Images = append(resp.Images, imageMessage(img))
	}
	return resp, nil
}
