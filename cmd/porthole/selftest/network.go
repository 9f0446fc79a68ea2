package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox"
)

// networkRows are about network/hcnnet.
var networkRows = []Row{
	{
		ID: "hns-namespace", Part: PartNetwork, run: checkNamespace,
		Assumed: "HNS gives a namespace the id asked for, and deletes an empty one",
		Shows:   "a crash within milliseconds leaves one empty namespace",
	},
	{
		ID: "hns-plugins", Part: PartNetwork, run: checkPlugins,
		Assumed: "The plugins of the node's CNI configuration behave as their sources read: endpoints in the pod's namespace, which a VM takes as NICs",
		Shows:   "RunPodSandbox fails with what is missing",
		Do:      "`network/hcnnet`, with the configuration and `Get-HnsEndpoint`",
	},
	{
		ID: "hns-left", Part: PartNetwork, run: checkDetached,
		Assumed: "Nothing is left of a pod's network: `DeleteNamespace` takes a namespace whose endpoints are gone",
		Shows:   "endpoints and namespaces add up",
	},
	{
		ID: "hns-overhead", Part: PartNetwork, run: checkOverhead,
		Assumed: "The policy `EncapOverhead` is on endpoints of each overlay network",
		Shows:   "the MTU of pods is 1450 where another is right",
	},
	{
		ID: "hns-counters", Part: PartNetwork, run: checkCounters,
		Assumed: "HNS counts what passes through an endpoint that is plugged into a VM",
		Shows:   "the metrics porthole_endpoint_… stay 0",
	},
	{
		ID: "hns-restart", Part: PartNetwork, run: checkHNSRestart, Disruptive: true,
		Assumed: "A restart of HNS keeps the endpoints of networks that are persistent",
		Shows:   "pods lose their network, are stopped, and made anew",
	},
}

// podNet is the network of a pod that the rows attach.
type podNet struct {
	id        string
	result    network.Result
	endpoints []hcnnet.Endpoint
}

// attach attaches a new pod. done detaches it; again is no error.
func (b *bench) attach(ctx context.Context) (p podNet, done func(context.Context) error, err error) {
	switch {
	case b.lab.HNS == nil:
		return p, nil, errMissing(b.lab.HNSErr, "Host Network Service")
	case b.lab.Network == nil:
		return p, nil, errMissing(b.lab.NetworkErr, "pods' network")
	}
	b.next++
	p.id = fmt.Sprintf("5e1f7e57%024x", b.next)
	done = func(ctx context.Context) error { return b.lab.Network.Detach(ctx, p.id) }
	b.undo.Push("detach the network of a pod", done)
	if p.result, err = b.lab.Network.Attach(ctx, network.Pod{ID: p.id, Name: "selftest", Namespace: "selftest", UID: "selftest"}); err != nil {
		return p, done, failure{err}
	}
	for _, n := range p.result.NICs {
		e, err := b.lab.HNS.Endpoint(n.Interface)
		if err != nil {
			return p, done, failure{fmt.Errorf("endpoint of %s: %w", n.Name, err)}
		}
		p.endpoints = append(p.endpoints, e)
	}
	return p, done, nil
}

// failure marks what a host does wrong, beside what it lacks.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// lackOrFailure is the verdict of a step before what a row looks at.
func lackOrFailure(err error) verdict {
	var f failure
	if errors.As(err, &f) {
		return fails("%v", err)
	}
	return notRun("%v", err)
}

// askedID is a namespace's that no pod has.
const askedID = "5e1f7e57-0000-4000-8000-000000000001"

func checkNamespace(_ context.Context, b *bench) verdict {
	if b.lab.HNS == nil {
		return notRun("%v", errMissing(b.lab.HNSErr, "Host Network Service"))
	}
	v, err := b.lab.HNS.Version()
	if err != nil {
		return notRun("%v", err)
	}
	got, err := b.lab.HNS.CreateNamespace(askedID)
	if err != nil {
		return fails("%v", err)
	}
	if err := b.lab.HNS.DeleteNamespace(got); err != nil {
		return fails("%v", err)
	}
	if !strings.EqualFold(got, askedID) {
		return fails("HNS %d.%d gave %s for %s", v.Major, v.Minor, got, askedID)
	}
	return holds("HNS %d.%d", v.Major, v.Minor)
}

func checkPlugins(ctx context.Context, b *bench) verdict {
	begin := time.Now()
	p, done, err := b.attach(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	took := time.Since(begin)
	end, err := b.plug(ctx, p)
	if err != nil {
		v := lackOrFailure(errors.Join(err, done(ctx)))
		if v.outcome == NotRun {
			return unclear("the pod got %s; there is no VM to plug it into: %v", p, err)
		}
		return v
	}
	if err := errors.Join(end(ctx), done(ctx)); err != nil {
		return fails("%v", err)
	}
	return holds("%s, in %v; a pod in a VM was set up with it", p, round(took))
}

// plug makes a VM with a pod that has the network. A failure is of what is looked at; other errors are
// of what it is tried with.
func (b *bench) plug(ctx context.Context, p podNet) (end func(context.Context) error, err error) {
	var u undo.Stack
	end = func(ctx context.Context) error { return u.Run(ctx, closeTimeout) }
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, closeTimeout))
		}
	}()
	g, err := b.boot(ctx, DriverOptions{}, guest.Connect)
	if err != nil {
		return nil, err
	}
	path := b.file("")
	u.Push("remove scratch disk", func(ctx context.Context) error { return b.lab.Scratch.Remove(ctx, path) })
	u.Push("end VM", g.end)
	if err := g.err(); err != nil {
		return nil, err
	}
	scratch, err := b.lab.Scratch.Create(ctx, path, scratchBytes)
	if err != nil {
		return nil, err
	}
	disk, err := g.vm.AttachDisk(ctx, scratch)
	if err != nil {
		return nil, err
	}
	pod := guest.Pod{ID: p.id, Hostname: "selftest", Scratch: guest.DiskAddress(disk)}
	for _, n := range p.result.NICs {
		info, err := g.vm.AttachNIC(ctx, sandbox.NIC{Name: n.Name, Namespace: p.result.Namespace, Interface: n.Interface})
		if err != nil {
			return nil, failure{err}
		}
		i := guest.Interface{Name: n.Name, BootMAC: info.MAC, MAC: n.MAC, MTU: uint32(n.MTU), Addresses: n.Addresses}
		for _, r := range n.Routes {
			i.Routes = append(i.Routes, guest.Route{Destination: r.Destination, Gateway: r.Gateway, MTU: uint32(r.MTU), Metric: uint32(r.Metric)})
		}
		pod.Interfaces = append(pod.Interfaces, i)
	}
	if err := g.client.CreatePod(ctx, pod); err != nil {
		return nil, failure{err}
	}
	return end, nil
}

func (p podNet) String() string {
	var mtus []string
	for _, n := range p.result.NICs {
		mtus = append(mtus, fmt.Sprintf("%s with MTU %d", n.Name, n.MTU))
	}
	return fmt.Sprintf("%s, addresses %s", strings.Join(mtus, ", "), strings.Join(p.result.IPs, ", "))
}

func checkDetached(ctx context.Context, b *bench) verdict {
	p, done, err := b.attach(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	if err := done(ctx); err != nil {
		return fails("%v", err)
	}
	all, err := b.lab.HNS.Endpoints()
	if err != nil {
		return fails("%v", err)
	}
	for _, e := range p.endpoints {
		if slices.ContainsFunc(all, func(x hcnnet.Endpoint) bool { return strings.EqualFold(x.ID, e.ID) }) {
			return fails("endpoint %s is left", e.ID)
		}
	}
	if members, err := b.lab.HNS.NamespaceEndpoints(p.result.Namespace); err == nil {
		return fails("namespace %s is left, with %d endpoints", p.result.Namespace, len(members))
	} else if !errdefs.IsNotFound(err) {
		return unclear("%v", err)
	}
	return holds("%d endpoints and their namespace are gone", len(p.endpoints))
}

func checkOverhead(ctx context.Context, b *bench) verdict {
	p, done, err := b.attach(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer done(context.WithoutCancel(ctx))
	if len(p.endpoints) == 0 {
		return notRun("the pod has no endpoint")
	}
	e := p.endpoints[0]
	n, err := b.lab.HNS.Network(e.Network)
	if err != nil {
		return fails("%v", err)
	}
	if n.Type != "Overlay" {
		return notRun("network %s is of type %s", n.Name, n.Type)
	}
	at := slices.IndexFunc(e.Policies, func(p hcnnet.Policy) bool { return p.Type == "EncapOverhead" })
	if at < 0 {
		return fails("the endpoint has the policies %s", policyNames(e.Policies))
	}
	return holds("%s", compact(e.Policies[at].Settings))
}

func compact(raw json.RawMessage) string {
	s := strings.Join(strings.Fields(string(raw)), " ")
	return s[:min(len(s), 200)]
}

func policyNames(all []hcnnet.Policy) string {
	var out []string
	for _, p := range all {
		out = append(out, p.Type)
	}
	return "[" + strings.Join(out, " ") + "]"
}

// checkCounters reads the counters of the endpoint of a pod that has just been set up: its
// kernel sends by itself (router solicitations, multicast reports).
func checkCounters(ctx context.Context, b *bench) verdict {
	p, done, err := b.attach(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer done(context.WithoutCancel(ctx))
	end, err := b.plug(ctx, p)
	if err != nil {
		return notRun("%v", err)
	}
	defer end(context.WithoutCancel(ctx))
	wait, cancel := context.WithTimeout(ctx, b.lab.Times.Notice)
	defer cancel()
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		for _, e := range p.endpoints {
			s, err := b.lab.HNS.EndpointStats(e.ID)
			if err != nil {
				return fails("%v", err)
			}
			if s.PacketsReceived+s.PacketsSent > 0 {
				return holds("%d packets to the pod, %d from it", s.PacketsReceived, s.PacketsSent)
			}
		}
		select {
		case <-ticks.C:
		case <-wait.Done():
			return unclear("the counters are read, and stay 0 for %v: nobody may have sent", b.lab.Times.Notice)
		}
	}
}

func checkHNSRestart(ctx context.Context, b *bench) verdict {
	p, done, err := b.attach(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer done(context.WithoutCancel(ctx))
	if err := b.lab.Restart(ctx, "hns"); err != nil {
		return notRun("restart hns: %v", err)
	}
	for _, e := range p.endpoints {
		switch _, err := b.lab.HNS.Endpoint(e.ID); {
		case errdefs.IsNotFound(err):
			return fails("the endpoint is gone")
		case err != nil:
			return fails("%v", err)
		}
	}
	if _, err := b.lab.HNS.NamespaceEndpoints(p.result.Namespace); err != nil {
		return fails("the endpoint is kept, its namespace is not: %v", err)
	}
	return holds("%d endpoints and their namespace are kept", len(p.endpoints))
}
