package guest

import (
	"context"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/usage"
)

// Freeze stops all processes of a pod's containers and returns once they stand still. On
// error they go on.
func (c *Client) Freeze(ctx context.Context, podID string) error {
	_, err := call(ctx, c.api.FreezePod, &api.FreezePodRequest{PodId: c.inside(podID)})
	return inGuest(err)
}

// Thaw undoes Freeze.
func (c *Client) Thaw(ctx context.Context, podID string) error {
	_, err := call(ctx, c.api.FreezePod, &api.FreezePodRequest{PodId: c.inside(podID), Thaw: true})
	return inGuest(err)
}

// Renewal is what a pod in a restored VM is made into.
type Renewal struct {
	Pod        Pod // its id, hostname, interfaces, resolver and hosts files
	Containers []RenewedContainer
}

// RenewedContainer is a container of a restored pod with its new streams.
type RenewedContainer struct {
	ID    string
	Stdio Stdio
}

// Renew makes the frozen pod of a restored VM another one, with containers that are to be
// started. After an error the pod is fit to be removed only.
func (c *Client) Renew(ctx context.Context, r Renewal) error {
	p := podRequest(r.Pod)
	req := &api.RenewPodRequest{
		PodId: c.inside(r.Pod.ID), Hostname: p.Hostname, Interfaces: p.Interfaces,
		ResolvConf: p.ResolvConf, Hosts: p.Hosts,
	}
	for _, rc := range r.Containers {
		req.Containers = append(req.Containers, &api.RenewContainer{
			ContainerId: c.inside(rc.ID), Stdio: stdioRequest(rc.Stdio),
		})
	}
	_, err := call(ctx, c.api.RenewPod, req)
	return inGuest(err)
}

// aliases are the ids by which the guest knows pods and containers, where they are others.
type aliases struct{ inside, outside map[string]string }

// SetAliases says by which ids the guest knows pods and containers that were restored, by
// their ids on this side. It is called once, before they are used.
func (c *Client) SetAliases(inside map[string]string) {
	a := &aliases{inside: inside, outside: make(map[string]string, len(inside))}
	for out, in := range inside {
		a.outside[in] = out
	}
	c.aliases.Store(a)
}

// Inside is the id by which the guest knows a pod or container.
func (c *Client) Inside(id string) string { return c.inside(id) }

func (c *Client) inside(id string) string {
	if a := c.aliases.Load(); a != nil {
		if in, ok := a.inside[id]; ok {
			return in
		}
	}
	return id
}

// rename gives figures the ids of this side.
func (c *Client) rename(vm usage.VM) usage.VM {
	a := c.aliases.Load()
	if a == nil {
		return vm
	}
	out := usage.VM{Pods: map[string]usage.Pod{}, Containers: map[string]usage.Container{}}
	name := func(id string) string {
		if o, ok := a.outside[id]; ok {
			return o
		}
		return id
	}
	for id, p := range vm.Pods {
		out.Pods[name(id)] = p
	}
	for id, ct := range vm.Containers {
		out.Containers[name(id)] = ct
	}
	return out
}

// LastID is the last id that a stream or share was given. They must not be used again in
// the VM's life, which goes on when it is saved and restored.
func (c *Client) LastID() uint64 { return c.nextID.Load() }

// SkipIDs goes on after an id that LastID told, in a VM that was restored.
func (c *Client) SkipIDs(last uint64) { c.nextID.Store(max(last, c.nextID.Load())) }
