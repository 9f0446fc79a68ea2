package main

import (
	"log/slog"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox/cgroup"
)

// openCgroups finds the host's control groups for [vm] pod_cgroup. Without any, as on
// Windows, VMs run where the daemon does, unless that is not to be.
func openCgroups(mode string, log *slog.Logger) (*cgroup.FS, error) {
	if mode == "off" {
		return nil, nil
	}
	found, err := cgroup.Open()
	if err != nil && mode == "on" {
		return nil, err
	}
	if err != nil {
		if !errdefs.IsNotFound(err) {
			log.Warn("VMs are not put into their pods' control groups", logkey.Error, err)
		}
		return nil, nil
	}
	return found, nil
}
