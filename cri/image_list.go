package cri

import (
	"context"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListImages lists all images, or the one that the filter names.
func (s *Server) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	items, err := s.listImages(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListImagesResponse{Images: items}, nil
}

// StreamImages is ListImages in parts.
func (s *Server) StreamImages(r *runtimeapi.StreamImagesRequest, out grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	items, err := s.listImages(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(items, func(part []*runtimeapi.Image) error {
		return out.Send(&runtimeapi.StreamImagesResponse{Images: part})
	})
}

func (s *Server) listImages(ctx context.Context, in *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := in.GetImage().GetImage(); ref != "" {
		if err := checkImageRef("filter.image.image", ref); err != nil {
			return nil, err
		}
		img, err := s.images.Image(ctx, ref)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []*runtimeapi.Image{imageMessage(img)}, nil
	}
	all, err := s.images.Images(ctx)
	if err != nil {
		return nil, err
	}
	var items []*runtimeapi.Image
	for _, img := range all {
		items = append(items, imageMessage(img))
	}
	return items, nil
}
