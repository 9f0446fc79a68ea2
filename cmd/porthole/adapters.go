package main

import (
	"context"
	"io"

	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/streaming"
)

// podNetwork is sandbox.Network over network.Manager.
type podNetwork struct{ m *network.Manager }

var _ sandbox.Network = podNetwork{}

func (n podNetwork) Attach(ctx context.Context, p sandbox.PodNetwork) (sandbox.NetworkResult, error) {
	pod := network.Pod{
		ID: p.ID, Name: p.Name, Namespace: p.Namespace, UID: p.UID,
		Annotations: p.Annotations, Labels: p.Labels, CgroupParent: p.CgroupParent,
		DNS: network.DNS{Servers: p.DNS.Servers, Search: p.DNS.Searches, Options: p.DNS.Options},
	}
	for _, m := range p.PortMappings {
		pod.PortMappings = append(pod.PortMappings, network.PortMapping(m))
	}
	r, err := n.m.Attach(ctx, pod)
	if err != nil {
		return sandbox.NetworkResult{}, err
	}
	out := sandbox.NetworkResult{
		Namespace: r.Namespace, IPs: r.IPs,
		DNSServers: r.DNS.Servers, DNSSearch: r.DNS.Search, DNSOptions: r.DNS.Options,
	}
	for _, nic := range r.NICs {
		to := sandbox.PodNIC{
			NIC: sandbox.NIC{Name: nic.Name, Namespace: r.Namespace, Interface: nic.Interface},
			MAC: nic.MAC, MTU: nic.MTU, Addresses: nic.Addresses,
		}
		for _, route := range nic.Routes {
			to.Routes = append(to.Routes, sandbox.Route(route))
		}
		out.NICs = append(out.NICs, to)
	}
	return out, nil
}

func (n podNetwork) Detach(ctx context.Context, p sandbox.PodNetwork) error {
	return n.m.Detach(ctx, p.ID)
}

func (n podNetwork) Ready(ctx context.Context) error { return n.m.Ready(ctx) }

// executor is streaming.Executor over sandbox.Manager.
type executor struct{ m *sandbox.Manager }

var _ streaming.Executor = executor{}

func (e executor) Exec(ctx context.Context, containerID string, cmd []string, s streaming.Streams) (int, error) {
	var code int
	err := withStreams(s, func(to sandbox.Streams) (err error) {
		code, err = e.m.Exec(ctx, containerID, sandbox.ExecSpec{Args: cmd, Terminal: s.TTY}, to)
		return err
	})
	return code, err
}

func (e executor) Attach(ctx context.Context, containerID string, s streaming.Streams) error {
	return withStreams(s, func(to sandbox.Streams) error { return e.m.Attach(ctx, containerID, to) })
}

func (e executor) PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error {
	return e.m.PortForward(ctx, podID, port, conn)
}

// withStreams calls f with s in sandbox's types. Window sizes are carried over until f
// returns; the goroutine that does so has ended when withStreams returns.
func withStreams(s streaming.Streams, f func(sandbox.Streams) error) error {
	to := sandbox.Streams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr}
	if s.Resize == nil {
		return f(to)
	}
	sizes := make(chan sandbox.Size)
	to.Resize = sizes
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer close(sizes)
		for {
			select {
			case size, ok := <-s.Resize:
				if !ok {
					return
				}
				select {
				case sizes <- sandbox.Size(size):
				case <-stop:
					return
				}
			case <-stop:
				return
			}
		}
	}()
	err := f(to)
	close(stop)
	<-done
	return err
}

// streamURLs is cri.Streams over streaming.Server.
type streamURLs struct{ s *streaming.Server }

var _ cri.Streams = streamURLs{}

func (u streamURLs) ExecURL(_ context.Context, e cri.ExecURL) (string, error) {
	return u.s.ExecURL(streaming.Request{
		ContainerID: e.ContainerID, Cmd: e.Cmd, TTY: e.TTY, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr,
	})
}

func (u streamURLs) AttachURL(_ context.Context, a cri.AttachURL) (string, error) {
	return u.s.AttachURL(streaming.Request{
		ContainerID: a.ContainerID, TTY: a.TTY, Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr,
	})
}

func (u streamURLs) PortForwardURL(_ context.Context, podID string, ports []uint16) (string, error) {
	var list []int32
	for _, p := range ports {
		list = append(list, int32(p))
	}
	return u.s.PortForwardURL(podID, list)
}
