package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/porthole-run/porthole/internal/undo"
)

// Attach makes the pod's network namespace and lets the plugins set it up. On error
// nothing is left but, if undoing failed, what Detach and Prune finish. When ctx ends,
// plugins may finish what they are at for a while, as one that is killed leaves things
// that its own DEL stumbles over; then they are killed.
func (m *Manager) Attach(ctx context.Context, p Pod) (_ Result, err error) {
	if err := p.validate(); err != nil {
		return Result{}, err
	}
	caps, err := p.capabilities()
	if err != nil {
		return Result{}, err
	}
	unlock, err := m.locks.lock(ctx, p.ID)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	c, err := m.usableConf()
	if err != nil {
		return Result{}, err
	}
	if _, ok := caps["portMappings"]; ok && !c.can("portMappings") {
		m.logger.WarnContext(ctx, "no network plugin maps host ports", "pod_id", p.ID, "conf_file", c.file)
	}
	rec := &record{ID: p.ID, ConfFile: c.file, Conf: c.list.Bytes, Args: p.args(), Capabilities: caps}
	r, err := m.attach(ctx, c, rec)
	if err != nil {
		return Result{}, fmt.Errorf("network %s of %s: %w", c.list.Name, c.file, err)
	}
	return r, nil
}

func (m *Manager) attach(ctx context.Context, c *conf, rec *record) (_ Result, err error) {
	if old, err := m.readRecord(rec.ID); err != nil {
		return Result{}, err
	} else if left, err := m.host.Find(ctx, rec.ID); err != nil {
		return Result{}, err
	} else if old != nil || left != "" {
		return Result{}, fmt.Errorf("the pod is attached: %w", errdefs.ErrAlreadyExists)
	}
	var u undo.Stack
	defer func() {
		if err != nil {
			err = undo.Failed(err, u.Run(ctx, undoTimeout))
		}
	}()
	netns, err := m.host.Create(ctx, rec.ID)
	if err != nil {
		return Result{}, err
	}
	u.Push("remove namespace", func(ctx context.Context) error { return m.host.Remove(ctx, rec.ID) })
	if err := m.writeRecord(rec); err != nil {
		return Result{}, err
	}
	u.Push("delete attachment", func(ctx context.Context) error { return m.del(ctx, rec) })
	pctx, cancel := m.withGrace(ctx)
	defer cancel()
	added, err := m.cni.AddNetworkList(pctx, c.list, rec.runtimeConf(netns))
	if err == nil && ctx.Err() != nil {
		err = errors.New("given up")
	}
	if err != nil {
		return Result{}, pluginFailure(ctx, err)
	}
	current, err := types100.NewResultFromResult(added)
	if err != nil {
		return Result{}, fmt.Errorf("result of the plugins: %w", err)
	}
	r, err := m.host.Read(ctx, rec.ID, netns, current)
	r.Namespace = netns
	return r, err
}

// usableConf loads the configuration and finds its plugins.
func (m *Manager) usableConf() (*conf, error) {
	c, err := loadConf(m.config.ConfDir)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range c.plugins() {
		if _, err := m.exec.FindInPath(name, m.config.PluginDirs); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("network configuration %s needs the plugins %s, not found in %s: install them (%s) or name their folder: %w",
			c.file, strings.Join(missing, ", "), strings.Join(m.config.PluginDirs, ", "), pluginSource, errdefs.ErrFailedPrecondition)
	}
	return c, nil
}

// Detach lets the plugins undo what they did for a pod and removes its namespace. It
// may be called again, after a failed Attach and after a reboot: what is gone is no
// error. After an error it can be called again.
func (m *Manager) Detach(ctx context.Context, podID string) error {
	if err := validateID(podID); err != nil {
		return err
	}
	unlock, err := m.locks.lock(ctx, podID)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := m.readRecord(podID)
	if err != nil {
		return err
	}
	if rec != nil {
		if err := m.free(ctx, rec); err != nil {
			return err
		}
	}
	return m.host.Remove(ctx, podID)
}

// free is del, but lets go of a pod whose ADD never succeeded when DEL does not either: a
// configuration that plugins refuse would keep the pod from being removed for ever. It
// asks twice, as plugins stumble over what an ADD that was cut short did not make, and
// have freed the rest by then.
func (m *Manager) free(ctx context.Context, rec *record) error {
	err := m.del(ctx, rec)
	if err == nil || ctx.Err() != nil || m.wasAdded(rec) {
		return err
	}
	if err = m.del(ctx, rec); err == nil || ctx.Err() != nil {
		return err
	}
	m.logger.WarnContext(ctx, "plugins do not undo an attachment that failed; what they left has to be freed by hand",
		"pod_id", rec.ID, "error", err)
	return m.removeRecord(rec.ID)
}

// wasAdded tells whether ADD succeeded: libcni keeps its result then. When in doubt it did.
func (m *Manager) wasAdded(rec *record) bool {
	list, err := libcni.NetworkConfFromBytes(rec.Conf)
	if err != nil {
		return true
	}
	cached, err := m.cni.GetNetworkListCachedResult(list, rec.runtimeConf(""))
	return err != nil || cached != nil
}

// del runs the plugins' DEL and, if that succeeds, removes the record.
func (m *Manager) del(ctx context.Context, rec *record) error {
	list, err := libcni.NetworkConfFromBytes(rec.Conf)
	if err != nil {
		return fmt.Errorf("recorded network configuration: %w", err)
	}
	netns, err := m.host.Find(ctx, rec.ID)
	if err != nil {
		return err
	}
	pctx, cancel := m.withGrace(ctx)
	defer cancel()
	if err := m.cni.DelNetworkList(pctx, list, rec.runtimeConf(netns)); err != nil {
		return fmt.Errorf("network %s of %s: %w", list.Name, rec.ConfFile, pluginFailure(ctx, err))
	}
	return m.removeRecord(rec.ID)
}

// Prune detaches all pods but those to keep, and returns which it detached. It goes on
// after errors, and returns them all.
func (m *Manager) Prune(ctx context.Context, keep []string) ([]string, error) {
	ids, err := m.known()
	if err != nil {
		return nil, err
	}
	var gone []string
	var errs []error
	for _, id := range ids {
		if slices.Contains(keep, id) {
			continue
		}
		if err := m.Detach(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("detach pod %s: %w", id, err))
			continue
		}
		gone = append(gone, id)
	}
	return gone, errors.Join(errs...)
}

// withGrace returns a context that ends some time after ctx does.
func (m *Manager) withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(m.grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-late.Done():
		}
	})
	return late, func() {
		stop()
		cancel(context.Canceled)
	}
}

// pluginFailure makes the end of ctx findable in the error of a plugin that was killed.
func pluginFailure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
