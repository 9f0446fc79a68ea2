package simnode

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

func (l *life) launcher(to sandbox.Launcher) sandbox.Launcher { return launcher{to, l} }
func (l *life) network(to sandbox.Network) sandbox.Network    { return network{to, l} }
func (l *life) scratch(to sandbox.Scratch) sandbox.Scratch    { return scratch{to, l} }

// launcher passes on what a living daemon asks for.
type launcher struct {
	sandbox.Launcher
	life *life
}

func (l launcher) Launch(ctx context.Context, c sandbox.ShimConfig) (sandbox.Shim, error) {
	return l.life.connect(ctx, "Launch", func(ctx context.Context) (sandbox.Shim, error) { return l.Launcher.Launch(ctx, c) })
}

func (l launcher) Open(ctx context.Context, id string) (sandbox.Shim, error) {
	return l.life.connect(ctx, "Open", func(ctx context.Context) (sandbox.Shim, error) { return l.Launcher.Open(ctx, id) })
}

// connect makes a call that ends in a connection to a shim.
func (l *life) connect(ctx context.Context, call string, to func(context.Context) (sandbox.Shim, error)) (sandbox.Shim, error) {
	var s sandbox.Shim
	err := l.do(ctx, call, func(ctx context.Context) (err error) {
		s, err = to(ctx)
		return err
	})
	if err != nil {
		if s != nil {
			_ = s.Close()
		}
		return nil, err
	}
	return shim{s, l}, nil
}

func (l launcher) End(ctx context.Context, id string) error {
	return l.life.do(ctx, "End", func(ctx context.Context) error { return l.Launcher.End(ctx, id) })
}

// shim passes on what a living daemon asks of a VM. What only waits or looks is not
// touched but for Stats.
type shim struct {
	sandbox.Shim
	life *life
}

func (s shim) SetupPod(ctx context.Context, p sandbox.PodSetup) error {
	return s.life.do(ctx, "SetupPod", func(ctx context.Context) error { return s.Shim.SetupPod(ctx, p) })
}

func (s shim) RemovePod(ctx context.Context, id string) error {
	return s.life.do(ctx, "RemovePod", func(ctx context.Context) error { return s.Shim.RemovePod(ctx, id) })
}

func (s shim) CreateContainer(ctx context.Context, c sandbox.ContainerSetup) (out sandbox.ContainerCreated, err error) {
	err = s.life.do(ctx, "CreateContainer", func(ctx context.Context) (err error) {
		out, err = s.Shim.CreateContainer(ctx, c)
		return err
	})
	return out, err
}

func (s shim) StartContainer(ctx context.Context, id string) (at time.Time, err error) {
	err = s.life.do(ctx, "StartContainer", func(ctx context.Context) (err error) {
		at, err = s.Shim.StartContainer(ctx, id)
		return err
	})
	return at, err
}

func (s shim) Signal(ctx context.Context, id string, signal int, all bool) error {
	return s.life.do(ctx, "Signal", func(ctx context.Context) error { return s.Shim.Signal(ctx, id, signal, all) })
}

func (s shim) RemoveContainer(ctx context.Context, id string) error {
	return s.life.do(ctx, "RemoveContainer", func(ctx context.Context) error { return s.Shim.RemoveContainer(ctx, id) })
}

func (s shim) UpdateContainer(ctx context.Context, id string, resources []byte) error {
	return s.life.do(ctx, "UpdateContainer", func(ctx context.Context) error { return s.Shim.UpdateContainer(ctx, id, resources) })
}

func (s shim) ReopenLog(ctx context.Context, id string) error {
	return s.life.do(ctx, "ReopenLog", func(ctx context.Context) error { return s.Shim.ReopenLog(ctx, id) })
}

func (s shim) Stats(ctx context.Context, openFiles bool) (out usage.VM, err error) {
	err = s.life.do(ctx, "Stats", func(ctx context.Context) (err error) {
		out, err = s.Shim.Stats(ctx, openFiles)
		return err
	})
	return out, err
}

func (s shim) Shutdown(ctx context.Context) error {
	return s.life.do(ctx, "Shutdown", s.Shim.Shutdown)
}

// network passes on what a living daemon asks of the network. A plugin that fails late
// has left something.
type network struct {
	sandbox.Network
	life *life
}

func (n network) Attach(ctx context.Context, p sandbox.PodNetwork) (out sandbox.NetworkResult, err error) {
	err = n.life.do(ctx, "Attach", func(ctx context.Context) (err error) {
		out, err = n.Network.Attach(ctx, p)
		return err
	})
	return out, err
}

func (n network) Detach(ctx context.Context, p sandbox.PodNetwork) error {
	return n.life.do(ctx, "Detach", func(ctx context.Context) error { return n.Network.Detach(ctx, p) })
}

// scratch passes on what a living daemon asks of its disks.
type scratch struct {
	sandbox.Scratch
	life *life
}

func (s scratch) Create(ctx context.Context, path string, bytes int64) (out sandbox.Disk, err error) {
	err = s.life.do(ctx, "ScratchCreate", func(ctx context.Context) (err error) {
		out, err = s.Scratch.Create(ctx, path, bytes)
		return err
	})
	return out, err
}

func (s scratch) Remove(ctx context.Context, path string) error {
	return s.life.do(ctx, "ScratchRemove", func(ctx context.Context) error { return s.Scratch.Remove(ctx, path) })
}
