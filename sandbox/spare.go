package sandbox

import "context"

// takeSpare takes a VM that runs already for a pod that is to have one to itself, and
// returns its id; without one that is a new id, and s is nil.
func (m *Manager) takeSpare(h Handler, vm ShimConfig) (id string, s Shim) {
	if h.Sharing == nil && m.cfg.Spares != nil {
		if id, s, ok := m.cfg.Spares.Take(vm); ok {
			return id, s
		}
	}
	return newID(), nil
}

// endSpare ends the VM that was taken for a pod of which nothing was made.
func (m *Manager) endSpare(ctx context.Context, s Shim) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeouts.Undo)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return err
	}
	return s.Close()
}
