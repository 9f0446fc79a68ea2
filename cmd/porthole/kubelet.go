package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/cri/mux"
	"github.com/porthole-run/porthole/cri/podsapi"
	"github.com/porthole-run/porthole/internal/logkey"
)

func dialectOn(c config.Config) bool {
	return c.Kubelet.Dialect == "on" || c.Kubelet.Dialect == "auto" && windowsHost
}

// windowsDialect is nil where no Windows kubelet is to be understood. close lets go of its
// connection to the kubelet.
func windowsDialect(c config.Config, log *slog.Logger) (d *dialect.Windows, stop func(), err error) {
	k := c.Kubelet
	if !dialectOn(c) {
		return nil, func() {}, nil
	}
	processors := int(k.Processors)
	if processors == 0 {
		processors = hostProcessors()
	}
	memory, err := hostMemory()
	if err != nil {
		return nil, nil, fmt.Errorf("size of this host: %w", err)
	}
	pods, err := podsapi.New(podsapi.Config{Endpoint: k.PodsAPI, Timeout: time.Duration(k.PodsAPITimeout)})
	if err != nil {
		return nil, nil, err
	}
	d, err = dialect.New(dialect.Config{
		Pods: pods, Processors: processors, MemoryBytes: memory,
		SystemDrive: k.SystemDrive, Drives: k.Drives,
		SeccompRoot: k.SeccompRoot, SeccompDefault: k.SeccompDefault,
		DropSecurityContext: k.WithoutSpec == "drop-security-context",
		HostNetworkAsPod:    k.HostNetwork == "pod",
		Logger:              log,
	})
	if err != nil {
		_ = pods.Close()
		return nil, nil, err
	}
	log.Info("requests of a Windows kubelet are understood", logkey.Address, k.PodsAPI, "processors", processors, "without_spec", k.WithoutSpec)
	return d, func() { _ = pods.Close() }, nil
}

// front is what answers at the CRI socket.
type front interface {
	Serve(ctx context.Context, l net.Listener) error
}

// criFront is our own server, or the two runtimes behind one.
func criFront(c config.Config, edge *cri.Server, log *slog.Logger) (f front, stop func(), err error) {
	if c.Upstream.Endpoint == "" {
		return edge, func() {}, nil
	}
	m, err := mux.New(mux.Config{
		Local: edge, Upstream: c.Upstream.Endpoint, Handlers: handlerNames(c),
		DefaultUpstream: c.Upstream.Default == "upstream",
		AskTimeout:      time.Duration(c.Upstream.Timeout), Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	log.Info("another runtime is served at the same endpoint", logkey.Address, c.Upstream.Endpoint, "default", c.Upstream.Default)
	return m, func() { _ = m.Close() }, nil
}
