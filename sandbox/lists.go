package sandbox

import (
	"cmp"
	"context"
	"slices"

	"github.com/containerd/errdefs"
)

// PodFilter selects pods; zero fields select all.
type PodFilter struct {
	ID     string // or a prefix
	State  PodState
	Labels map[string]string // all must match
}

// Pod returns a pod sandbox.
func (m *Manager) Pod(_ context.Context, id string) (Pod, error) {
	p, err := m.findPod(id)
	if err != nil {
		return Pod{}, err
	}
	return p.view(), nil
}

// Pods lists pod sandboxes, oldest first. An ID that names none is an empty list.
func (m *Manager) Pods(ctx context.Context, f PodFilter) (out []Pod, err error) {
	err = m.EachPod(ctx, f, func(p *Pod) { out = append(out, *p) })
	return out, err
}

// EachPod calls do for each of Pods. What do is given is do's until it returns: a list of
// many is not made but to be walked through.
func (m *Manager) EachPod(_ context.Context, f PodFilter, do func(*Pod)) error {
	pods, err := m.selectPods(f)
	if err != nil {
		return err
	}
	var v Pod
	for _, p := range pods {
		if p.viewTo(&v); f.State == "" || v.State == f.State {
			do(&v)
		}
	}
	return nil
}

// selectPods are the pods that match a filter but for the state, oldest first.
func (m *Manager) selectPods(f PodFilter) ([]*pod, error) {
	var from []*pod
	if f.ID != "" {
		p, err := m.findPod(f.ID)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		from = []*pod{p}
	} else {
		from = m.allPods()
	}
	from = slices.DeleteFunc(from, func(p *pod) bool { return !p.visible() || !hasLabels(p.config.Labels, f.Labels) })
	sortOldest(from)
	return from, nil
}

// ContainerFilter selects containers; zero fields select all.
type ContainerFilter struct {
	ID     string // or a prefix
	PodID  string // or a prefix
	Phase  Phase
	Labels map[string]string // all must match
}

// Container returns a container.
func (m *Manager) Container(_ context.Context, id string) (Container, error) {
	c, err := m.findContainer(id)
	if err != nil {
		return Container{}, err
	}
	return c.view(), nil
}

// Containers lists containers, oldest first. An ID or PodID that names none is an
// empty list.
func (m *Manager) Containers(ctx context.Context, f ContainerFilter) (out []Container, err error) {
	err = m.EachContainer(ctx, f, func(c *Container) { out = append(out, *c) })
	return out, err
}

// EachContainer is for Containers what EachPod is for Pods.
func (m *Manager) EachContainer(_ context.Context, f ContainerFilter, do func(*Container)) error {
	containers, err := m.selectContainers(f)
	if err != nil {
		return err
	}
	var v Container
	for _, c := range containers {
		if c.viewTo(&v); f.Phase == "" || v.Phase == f.Phase {
			do(&v)
		}
	}
	return nil
}

// selectContainers are the containers that match a filter but for the phase, oldest first.
func (m *Manager) selectContainers(f ContainerFilter) ([]*container, error) {
	var of *pod
	if f.PodID != "" {
		p, err := m.findPod(f.PodID)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		of = p
	}
	var from []*container
	if f.ID != "" {
		c, err := m.findContainer(f.ID)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		from = []*container{c}
	} else {
		from = m.containersOf(of)
	}
	from = slices.DeleteFunc(from, func(c *container) bool {
		return of != nil && c.pod != of || !c.visible() || !hasLabels(c.config.Labels, f.Labels)
	})
	sortOldest(from)
	return from, nil
}

// aged is what lists have by age.
type aged interface {
	// age is when it was made, in nanoseconds since 1970, and its id.
	age() (at int64, id string)
}

func (p *pod) age() (int64, string)       { return p.createdAt.UnixNano(), p.id }
func (c *container) age() (int64, string) { return c.createdAt.UnixNano(), c.id }

// sortOldest puts the oldest first. Each is looked at once: of many, most are not in the
// processor's caches, and to get them for each comparison takes longer than to sort.
func sortOldest[T aged](all []T) {
	type key struct {
		at  int64
		id  string
		one T
	}
	keys := make([]key, len(all))
	for i, one := range all {
		at, id := one.age()
		keys[i] = key{at, id, one}
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	for i, k := range keys {
		all[i] = k.one
	}
}

func hasLabels(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}
