package sandboxtest

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// Launcher is the node's sandbox.Launcher.
type Launcher struct{ *Node }

// Launch implements sandbox.Launcher.
func (l Launcher) Launch(ctx context.Context, c sandbox.ShimConfig) (sandbox.Shim, error) {
	if err := l.call(ctx, "Launch"); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	if _, ok := l.shims[c.ID]; ok {
		return nil, fmt.Errorf("shim %s: %w", c.ID, errdefs.ErrAlreadyExists)
	}
	p := newShimProcess(c)
	l.shims[c.ID] = p
	return newShim(l.Node, p), nil
}

// Open implements sandbox.Launcher.
func (l Launcher) Open(ctx context.Context, id string) (sandbox.Shim, error) {
	if err := l.call(ctx, "Open"); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	p, ok := l.shims[id]
	if !ok {
		return nil, fmt.Errorf("shim %s: %w", id, errdefs.ErrNotFound)
	}
	return newShim(l.Node, p), nil
}

// End implements sandbox.Launcher.
func (l Launcher) End(ctx context.Context, id string) error {
	if err := l.call(ctx, "End"); err != nil {
		return err
	}
	defer l.mu.Unlock()
	if p, ok := l.shims[id]; ok {
		p.end(nil)
		delete(l.shims, id)
	}
	return nil
}

// List implements sandbox.Launcher.
func (l Launcher) List(ctx context.Context) ([]string, error) {
	if err := l.call(ctx, "List"); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	var ids []string
	for id := range l.shims {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}
