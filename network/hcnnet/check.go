package hcnnet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Report is what Check found.
type Report struct {
	// Lost are the pods for which HNS does not hold any more what it should, by what is
	// missing: such a pod has no network, and nothing but a new one gets it one.
	Lost map[string]string
	// Strays are endpoints that carry an id in the form of a pod's in their name, of a
	// pod that this Host does not know: another Porthole's, or left from a state folder
	// that was deleted. They are not touched, as it cannot be told which.
	Strays []string
}

// Check compares what HNS holds with what it should hold for pods whose Attach has
// finished. HNS loses objects that are not persistent when it restarts, and all when its
// data is cleaned. An error says nothing about pods: HNS did not answer.
func (h *Host) Check(ctx context.Context) (Report, error) {
	pods, err := h.Pods()
	if err != nil {
		return Report{}, err
	}
	// Endpoints first: a pod that is attached meanwhile is in the files read later.
	all, err := ask(ctx, h.caller, "list endpoints", h.hns.Endpoints)
	if err != nil {
		return Report{}, err
	}
	r := Report{Lost: make(map[string]string)}
	for _, pod := range pods {
		s, err := h.readState(pod)
		if err != nil {
			return Report{}, err
		}
		if s == nil || len(s.Endpoints) == 0 {
			continue // detached meanwhile, or at work
		}
		missing, err := h.missing(ctx, s, all)
		if err != nil {
			return Report{}, err
		}
		// What Detach took away meanwhile is not lost.
		if again, err := h.readState(pod); missing != "" && err == nil && again != nil {
			r.Lost[pod] = missing
		}
	}
	for _, e := range all {
		owner, ok := ownerOf(e.Name)
		if !ok || slices.Contains(pods, owner) {
			continue
		}
		if s, err := h.readState(owner); err == nil && s == nil {
			r.Strays = append(r.Strays, fmt.Sprintf("%s (%s)", e.ID, e.Name))
		}
	}
	slices.Sort(r.Strays)
	return r, nil
}

// missing says what HNS lacks of a pod's; empty: nothing.
func (h *Host) missing(ctx context.Context, s *podState, all []Endpoint) (string, error) {
	for _, id := range s.Endpoints {
		if slices.ContainsFunc(all, func(e Endpoint) bool { return strings.EqualFold(e.ID, id) }) {
			continue
		}
		// One that was made after the list was.
		_, err := ask(ctx, h.caller, "read endpoint", func() (Endpoint, error) { return h.hns.Endpoint(id) })
		if errdefs.IsNotFound(err) {
			return "endpoint " + id, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// EndpointStats are the counters of one endpoint of a pod.
type EndpointStats struct {
	Endpoint string // id
	Stats
}

// Stats returns the counters of a pod's endpoints, in the order of its NICs. NotFound
// when the pod has none.
func (h *Host) Stats(ctx context.Context, podID string) ([]EndpointStats, error) {
	s, err := h.readState(podID)
	if err != nil {
		return nil, err
	}
	if s == nil || len(s.Endpoints) == 0 {
		return nil, fmt.Errorf("pod %s has no endpoint: %w", podID, errdefs.ErrNotFound)
	}
	var out []EndpointStats
	for _, id := range s.Endpoints {
		st, err := ask(ctx, h.caller, "read counters of endpoint", func() (Stats, error) { return h.hns.EndpointStats(id) })
		if err != nil {
			return nil, err
		}
		out = append(out, EndpointStats{Endpoint: id, Stats: st})
	}
	return out, nil
}
