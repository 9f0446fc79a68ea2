package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageFsInfo tells how much images take of their file system. Writable disks of
// containers are on the same one. The kubelet reads used_bytes without looking whether
// it is there.
func (s *Server) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	fs, err := s.images.FsInfo(ctx)
	if err != nil {
		return nil, err
	}
	usage := func() []*runtimeapi.FilesystemUsage {
		return []*runtimeapi.FilesystemUsage{{
			Timestamp:  fs.At.UnixNano(),
			FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: fs.Mountpoint},
			UsedBytes:  &runtimeapi.UInt64Value{Value: fs.UsedBytes},
			InodesUsed: &runtimeapi.UInt64Value{Value: fs.UsedInodes},
		}}
	}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage(), ContainerFilesystems: usage()}, nil
}
