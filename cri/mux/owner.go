package mux

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// uidLabel is the label by which a kubelet finds its pods again.
const uidLabel = "io.kubernetes.pod.uid"

// each calls f for both sides at once and waits for both.
func (m *Mux) each(f func(i int, s *side) error) (errs [2]error) {
	var wg sync.WaitGroup
	for i, s := range m.sides {
		wg.Go(func() { errs[i] = f(i, s) })
	}
	wg.Wait()
	return errs
}

// podOwner finds the side that has the pod; the id may be cut short. Where nobody has it,
// ours: its answer is the one that the CRI wants.
func (m *Mux) podOwner(ctx context.Context, id string) (*side, error) {
	return m.owner(ctx, "pod sandbox", id, (*side).hasPod, func(ctx context.Context, s *side) (int, error) {
		resp, err := s.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: id}})
		s.learnPods(resp.GetItems(), false)
		return len(resp.GetItems()), err
	})
}

// containerOwner is podOwner for a container.
func (m *Mux) containerOwner(ctx context.Context, id string) (*side, error) {
	return m.owner(ctx, "container", id, (*side).hasContainer, func(ctx context.Context, s *side) (int, error) {
		resp, err := s.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: id}})
		s.learnContainers(resp.GetContainers(), false)
		return len(resp.GetContainers()), err
	})
}

func (m *Mux) owner(ctx context.Context, noun, id string, has func(*side, string) bool, count func(context.Context, *side) (int, error)) (*side, error) {
	if id == "" {
		return m.ours(), nil
	}
	for _, s := range m.sides {
		if has(s, id) {
			return s, nil
		}
	}
	bounded, cancel := context.WithTimeout(ctx, m.askTimeout)
	defer cancel()
	var found [2]int
	errs := m.each(func(i int, s *side) (err error) {
		found[i], err = count(bounded, s)
		return err
	})
	switch {
	case found[0] > 0 && found[1] > 0:
		return nil, status.Errorf(codes.InvalidArgument, "%s %s: the id is cut short, and both %s and %s have some that begin so", noun, id, m.sides[0].name, m.sides[1].name)
	case found[0] > 0:
		return m.sides[0], nil
	case found[1] > 0:
		return m.sides[1], nil
	}
	for i, err := range errs {
		if err != nil && absent(err) {
			// It may be the absent one's: that it is gone must not be told.
			return nil, status.Errorf(codes.Unavailable, "%s %s: %s does not have it, and %s cannot be asked: %v", noun, id, m.sides[1-i].name, m.sides[i].name, err)
		}
	}
	return m.ours(), nil
}

// podByUID finds the side that runs the sandbox of the pod with this uid; nil when
// neither has one.
func (m *Mux) podByUID(ctx context.Context, uid string) (*side, error) {
	is := func(p *runtimeapi.PodSandbox) bool { return p.GetMetadata().GetUid() == uid }
	if s := m.sideWith(is); s != nil {
		return s, nil
	}
	bounded, cancel := context.WithTimeout(ctx, m.askTimeout)
	defer cancel()
	errs := m.each(func(_ int, s *side) error {
		resp, err := s.runtime.ListPodSandbox(bounded, &runtimeapi.ListPodSandboxRequest{
			Filter: &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{uidLabel: uid}},
		})
		s.learnPods(resp.GetItems(), false)
		return err
	})
	if s := m.sideWith(is); s != nil {
		return s, nil
	}
	for i, err := range errs {
		if err != nil && absent(err) {
			return nil, status.Errorf(codes.Unavailable, "pod %s: %s does not run it, and %s cannot be asked: %v", uid, m.sides[1-i].name, m.sides[i].name, err)
		}
	}
	return nil, nil
}

// sideWith is the side with the pod that matches; of several a ready one, then the newest.
func (m *Mux) sideWith(match func(*runtimeapi.PodSandbox) bool) *side {
	a, b := m.sides[0].podWhere(match), m.sides[1].podWhere(match)
	switch {
	case a == nil && b == nil:
		return nil
	case b == nil, a != nil && !newer(b, a):
		return m.sides[0]
	}
	return m.sides[1]
}

// absent tells whether a side could not be asked, as opposed to having answered.
func absent(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
