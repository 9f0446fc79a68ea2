package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageFsInfo tells how much images, and the writable disks of pods, take of their file
// systems. The kubelet reads used_bytes without looking whether it is there.
func (s *Server) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	images, err := s.images.FsInfo(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := s.disks.DiskInfo(ctx)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems:     []*runtimeapi.FilesystemUsage{fsUsage(images)},
		ContainerFilesystems: []*runtimeapi.FilesystemUsage{fsUsage(disks)},
	}, nil
}

func fsUsage(fs FsInfo) *runtimeapi.FilesystemUsage {
	return &runtimeapi.FilesystemUsage{
		Timestamp:  fs.At.UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: fs.Mountpoint},
		UsedBytes:  &runtimeapi.UInt64Value{Value: fs.UsedBytes},
		InodesUsed: &runtimeapi.UInt64Value{Value: fs.UsedInodes},
	}
}
