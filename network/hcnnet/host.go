package hcnnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/porthole-run/porthole/network"
)

// minVersion is the first HNS with namespaces.
var minVersion = Version{Major: 9, Minor: 2}

// Config is what a Host is made of.
type Config struct {
	Dir      string        // a folder of its own, for what HNS holds for each pod; outlives a reboot
	Patience time.Duration // how long one call of HNS may take; 0: a minute
	Logger   *slog.Logger  // nil: none
}

// Host is a network.Host on HNS.
type Host struct {
	dir    string // immutable after New, as are the others
	hns    HNS
	caller *caller
	logger *slog.Logger
}

var _ network.Host = (*Host)(nil)

// New makes a Host. It calls nothing yet.
func New(c Config, hns HNS) (*Host, error) {
	if !filepath.IsAbs(c.Dir) {
		return nil, fmt.Errorf("folder %q for what HNS holds is no absolute path: %w", c.Dir, errdefs.ErrInvalidArgument)
	}
	h := &Host{dir: c.Dir, hns: hns, caller: newCaller(c.Patience), logger: c.Logger}
	if c.Patience == 0 {
		h.caller.patience = defaultPatience
	}
	if h.logger == nil {
		h.logger = slog.New(slog.DiscardHandler)
	}
	return h, nil
}

// Close waits, until ctx ends, for calls of HNS that were given up and still run.
func (h *Host) Close(ctx context.Context) error { return h.caller.wait(ctx) }

// Ready implements network.Host.
func (h *Host) Ready(ctx context.Context) error {
	v, err := ask(ctx, h.caller, "ask HNS for its version", h.hns.Version)
	if err != nil {
		return err
	}
	if v.Major < minVersion.Major || v.Major == minVersion.Major && v.Minor < minVersion.Minor {
		return fmt.Errorf("HNS is of version %d.%d, namespaces need %d.%d: use Windows Server 2022 or later: %w",
			v.Major, v.Minor, minVersion.Major, minVersion.Minor, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Create implements network.Host.
func (h *Host) Create(ctx context.Context, podID string) (string, error) {
	if none, ok := h.hns.(missing); ok {
		return "", none.why
	}
	asked, err := namespaceID(podID)
	if err != nil {
		return "", err
	}
	// First the file: what a crash leaves has to be found again.
	if err := h.writeState(podID, &podState{Asked: asked}); err != nil {
		return "", err
	}
	id, err := ask(ctx, h.caller, "create HCN namespace", func() (string, error) { return h.hns.CreateNamespace(asked) })
	if err != nil {
		var said *Error
		if errors.As(err, &said) { // else HNS may still make it
			err = errors.Join(err, h.removeState(podID))
		}
		return "", err
	}
	if !isGUID(id) {
		return "", fmt.Errorf("create HCN namespace: HNS names it %.40q, which is no GUID: %w", id, errdefs.ErrInternal)
	}
	if err := h.writeState(podID, &podState{Asked: asked, Namespace: id}); err != nil {
		undo := h.caller.do(context.WithoutCancel(ctx), "delete HCN namespace", func() error { return h.hns.DeleteNamespace(id) })
		if undo == nil {
			undo = h.removeState(podID)
		}
		return "", errors.Join(err, undo)
	}
	return id, nil
}

// Find implements network.Host. Plugins on Windows get the id of a namespace that is
// gone, too: by its form some choose which of HNS's interfaces they speak, and none of
// them enters it.
func (h *Host) Find(ctx context.Context, podID string) (string, error) {
	s, err := h.readState(podID)
	if err != nil || s == nil {
		return "", err
	}
	if s.Namespace == "" {
		return h.findAsked(ctx, s)
	}
	return s.Namespace, nil
}

// findAsked returns the namespace of a Create that was cut short, when HNS gave it the
// id that it was asked for; else nothing leads to it.
func (h *Host) findAsked(ctx context.Context, s *podState) (string, error) {
	_, err := h.members(ctx, s.Asked)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return s.Asked, nil
}

func (h *Host) members(ctx context.Context, namespace string) ([]string, error) {
	return ask(ctx, h.caller, "list endpoints of HCN namespace", func() ([]string, error) { return h.hns.NamespaceEndpoints(namespace) })
}

// Read implements network.Host: merge has the rules.
func (h *Host) Read(ctx context.Context, podID, namespace string, added *types100.Result) (network.Result, error) {
	s, err := h.readState(podID)
	if err != nil {
		return network.Result{}, err
	}
	if s == nil {
		return network.Result{}, fmt.Errorf("pod %s has no HCN namespace: %w", podID, errdefs.ErrNotFound)
	}
	ids, err := h.members(ctx, namespace)
	if err != nil {
		return network.Result{}, err
	}
	if len(ids) == 0 {
		return network.Result{}, fmt.Errorf(`the plugins put no endpoint into HCN namespace %s, though they succeeded: win-bridge and win-overlay do so only with "apiVersion": 2 in the configuration; others need a version that knows HCN namespaces: %w`,
			namespace, errdefs.ErrFailedPrecondition)
	}
	var list []attachment
	networks := make(map[string]Network)
	for _, id := range ids {
		e, err := ask(ctx, h.caller, "read endpoint", func() (Endpoint, error) { return h.hns.Endpoint(id) })
		if err != nil {
			return network.Result{}, err
		}
		n, ok := networks[e.Network]
		if !ok {
			if n, err = ask(ctx, h.caller, "read network", func() (Network, error) { return h.hns.Network(e.Network) }); err != nil {
				return network.Result{}, err
			}
			networks[e.Network] = n
		}
		list = append(list, attachment{Endpoint: e, network: n})
	}
	r, unknown, err := merge(added, list)
	if err != nil {
		return network.Result{}, err
	}
	for _, nic := range r.NICs {
		s.Endpoints = append(s.Endpoints, nic.Interface)
	}
	if err := h.writeState(podID, s); err != nil {
		return network.Result{}, err
	}
	if len(unknown) > 0 {
		h.logger.WarnContext(ctx, "plugins tell addresses that no endpoint has; pods get those of the endpoints",
			"pod_id", podID, "addresses", strings.Join(unknown, " "))
	}
	return r, nil
}

// Remove implements network.Host.
func (h *Host) Remove(ctx context.Context, podID string) error {
	s, err := h.readState(podID)
	if err != nil || s == nil {
		return err
	}
	namespace := s.Namespace
	if namespace == "" {
		if namespace, err = h.findAsked(ctx, s); err != nil {
			return err
		}
	}
	endpoints, err := h.left(ctx, podID, namespace, s)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range endpoints {
		errs = append(errs, h.removeEndpoint(ctx, namespace, id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if namespace != "" {
		err := h.caller.do(ctx, "delete HCN namespace", func() error { return h.hns.DeleteNamespace(namespace) })
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return h.removeState(podID)
}

// left returns the endpoints that are or may be a pod's still.
func (h *Host) left(ctx context.Context, podID, namespace string, s *podState) ([]string, error) {
	ids := slices.Clone(s.Endpoints)
	add := func(id string) {
		if !slices.ContainsFunc(ids, func(have string) bool { return strings.EqualFold(have, id) }) {
			ids = append(ids, id)
		}
	}
	if namespace != "" {
		members, err := h.members(ctx, namespace)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		for _, id := range members {
			add(id)
		}
	}
	if len(s.Endpoints) > 0 {
		return ids, nil
	}
	// An ADD that was cut short may have made an endpoint that is in no namespace.
	all, err := ask(ctx, h.caller, "list endpoints", h.hns.Endpoints)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if owner, ok := ownerOf(e.Name); ok && owner == podID {
			add(e.ID)
		}
	}
	return ids, nil
}

// ownerOf returns the pod's id in an endpoint's name, as win-bridge, win-overlay, Calico,
// sdnbridge, sdnoverlay and nat name it: CNI container id, "_", network.
func ownerOf(name string) (podID string, ok bool) {
	id, _, found := strings.Cut(name, "_")
	return id, found && isPodID(id)
}

func (h *Host) removeEndpoint(ctx context.Context, namespace, id string) error {
	if namespace != "" {
		err := h.caller.do(ctx, "take endpoint out of HCN namespace", func() error { return h.hns.RemoveEndpoint(namespace, id) })
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	err := h.caller.do(ctx, "delete endpoint", func() error { return h.hns.DeleteEndpoint(id) })
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
