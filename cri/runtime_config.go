package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Cgroup drivers, by their names in a kubelet's configuration.
const (
	CgroupfsDriver = "cgroupfs"
	SystemdDriver  = "systemd"
)

// RuntimeConfig tells a Linux kubelet which cgroup driver to use; the kubelet takes it over
// that of its own configuration (KubeletCgroupDriverFromCRI). Either form of a pod's
// cgroup_parent is taken here, and containers' cgroups are in the guest: what counts is who
// else has a hand in the host's cgroups.
func (s *Server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	driver := runtimeapi.CgroupDriver_CGROUPFS
	switch s.opts.CgroupDriver {
	case "":
		return &runtimeapi.RuntimeConfigResponse{}, nil
	case SystemdDriver:
		driver = runtimeapi.CgroupDriver_SYSTEMD
	}
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: driver}}, nil
}
