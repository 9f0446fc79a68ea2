package cri

import (
	"context"
	"encoding/json"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageStatus tells about one image. One that is not here is no error: the answer's
// image is empty.
func (s *Server) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	ref := r.GetImage().GetImage()
	if err := checkImageRef("image.image", ref); err != nil {
		return nil, err
	}
	img, err := s.images.Image(ctx, ref)
	if errdefs.IsNotFound(err) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ImageStatusResponse{Image: imageMessage(img)}
	if r.GetVerbose() {
		if resp.Info, err = verbose(map[string]any{"config": json.RawMessage(img.Config)}); err != nil {
			return nil, err
		}
	}
	return resp, nil
}
