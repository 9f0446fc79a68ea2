package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// networkCheckEvery is how often it is looked whether the host still holds pods' networks.
const networkCheckEvery = 30 * time.Second

// networkChecker tells which pods have lost their network.
type networkChecker interface {
	// Check fails when that cannot be told.
	Check(ctx context.Context) (hcnnet.Report, error)
}

// podStopper stops pods, which the kubelet then replaces.
type podStopper interface {
	StopPod(ctx context.Context, id string) error
}

// watchNetworks stops pods whose network is lost, as nothing but a new pod gets one: the
// kubelet sees that they are not ready, and makes new ones. A pod counts as lost when two
// checks in a row say so: while the host's network service starts, and while a pod is
// detached, one may be wrong. It returns nil when ctx ends.
func watchNetworks(ctx context.Context, every time.Duration, c networkChecker, p podStopper, log *slog.Logger) error {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	var before, strays map[string]string
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		report, err := c.Check(ctx)
		if err != nil {
			if ctx.Err() == nil && !failing {
				log.WarnContext(ctx, "it cannot be told whether pods have their networks", logkey.Error, err)
			}
			failing, before = true, nil
			continue
		}
		if failing {
			log.InfoContext(ctx, "pods' networks can be looked at again")
			failing = false
		}
		for id, what := range report.Lost {
			if before[id] != what {
				continue
			}
			log.ErrorContext(ctx, "the network of a pod is lost; the pod is stopped, to be replaced", logkey.PodID, id, logkey.Reason, what+" is gone")
			if err := p.StopPod(ctx, id); err != nil && !errdefs.IsNotFound(err) {
				log.WarnContext(ctx, "stop pod without network; tried again", logkey.PodID, id, logkey.Error, err)
			}
		}
		before = report.Lost
		strays = tellStrays(ctx, log, report.Strays, strays)
	}
}

// tellStrays logs what was not told before, and returns what was told.
func tellStrays(ctx context.Context, log *slog.Logger, now []string, before map[string]string) map[string]string {
	told := make(map[string]string)
	for _, s := range now {
		told[s] = ""
		if _, old := before[s]; !old {
			log.WarnContext(ctx, "an endpoint looks like that of a pod, but no pod here has it; Remove-HnsEndpoint removes it if no other porthole's does", "endpoint", s)
		}
	}
	return told
}
