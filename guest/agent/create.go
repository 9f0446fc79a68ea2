//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/crun"
	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
)

// CreateContainer implements the service.
func (c *control) CreateContainer(ctx context.Context, r *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
	if err := checkID("container_id", r.ContainerId); err != nil {
		return nil, err
	}
	layers, err := checkLayers(r.Layers, r.LayerIds)
	if err != nil {
		return nil, err
	}
	if err := checkMounts(r.Mounts); err != nil {
		return nil, err
	}
	spec, err := parseSpec(r.Spec)
	if err != nil {
		return nil, err
	}
	if r.FoundUser != nil {
		if err := identityOf(r.FoundUser).Check(); err != nil {
			return nil, fmt.Errorf("found_user: %w", err)
		}
	}
	p, err := c.pod(r.PodId)
	if err != nil {
		return nil, err
	}
	p.ready.RLock()
	defer p.ready.RUnlock()
	if p.pause == nil {
		return nil, fmt.Errorf("pod %q is gone: %w", p.id, errdefs.ErrNotFound)
	}
	ct := &container{
		id:      r.ContainerId,
		pod:     p,
		dir:     filepath.Join(p.dir, "c", r.ContainerId),
		upper:   c.shortDir(p.scratchDir()),
		project: c.nextProject(),
		layers:  layers,
		spec:    spec,
		execs:   map[string]*process{},
		making:  map[string]chan struct{}{},
	}
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if err := admit(c.Agent, containerName(ct.id), c.containers, ct.id, ct); err != nil {
		return nil, err
	}
	id, err := c.makeContainer(ctx, ct, r)
	if err != nil {
		c.forget(ct)
		return nil, err
	}
	ct.made = true
	return &api.CreateContainerResponse{
		Pid:    uint32(ct.process.proc.PID()),
		User:   &api.ResolvedUser{Uid: id.UID, Gid: id.GID, AdditionalGids: id.Groups, Home: id.Home},
		Phases: phase.Encode(ctx),
	}, nil
}

// makeContainer does the work of CreateContainer. On error nothing is left.
func (a *Agent) makeContainer(ctx context.Context, c *container, r *api.CreateContainerRequest) (id account.Identity, err error) {
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTime))
		}
	}()
	step := phase.Steps(ctx)
	defer step("")
	step("open streams")
	pio, err := a.openIO(ctx, r.Stdio, true)
	if err != nil {
		return id, err
	}
	pidOf, err := a.pidNamespace(c.pod, r)
	if err != nil {
		pio.close()
		return id, err
	}
	c.sharesPID = pidOf != 0
	u.Push("close streams", func(context.Context) error { pio.close(); return nil })
	u.Push("remove folders", func(context.Context) error { return errors.Join(os.RemoveAll(c.dir), os.RemoveAll(c.upper)) })
	step("make folders")
	upper, work, err := c.makeFolders(a.cfg.Disks)
	if err != nil {
		return id, err
	}
	step("mount layers")
	dirs, err := a.useLayers(ctx, c.layers)
	if err != nil {
		return id, err
	}
	u.Push("let go of layers", func(ctx context.Context) error { _, err := a.dropLayers(ctx, c.layers); return err })
	u.Push("unmount mapped folders", func(ctx context.Context) error { return a.dropMapped(ctx, c) })
	if dirs, err = a.mapLayers(c, dirs); err != nil {
		return id, err
	}
	step("mount root")
	if err := a.cfg.Disks.MountOverlay(c.root(), dirs, upper, work); err != nil {
		return id, err
	}
	u.Push("unmount root", func(ctx context.Context) error { return a.cfg.Disks.Unmount(ctx, c.root()) })
	folders, err := foldersOf(c.spec)
	if err != nil {
		return id, err
	}
	if r.FoundUser == nil {
		step("find user")
		if id, err = findUser(c.root(), r.User); err != nil {
			return id, err
		}
	} else {
		id = identityOf(r.FoundUser)
	}
	step("prepare root")
	if err := prepareRoot(c.root(), id, folders, c.spec.Process.Cwd, c.pod.namespaces.Users); err != nil {
		return id, err
	}
	if err := a.prepareDevices(c.spec.Linux); err != nil {
		return id, err
	}
	u.Push("let go of mounts", func(ctx context.Context) error { _, _, err := a.dropMounts(ctx, c); return err })
	step("mount volumes")
	mounts, err := a.useMounts(ctx, c, r.Mounts)
	if err != nil {
		return id, err
	}
	complete(c.spec, place{
		root: c.root(), cgroup: c.cgroup(), pausePID: c.pod.pause.PID(), pidOf: pidOf, users: c.pod.namespaces.Users,
		terminal: pio.terminal, width: r.Stdio.GetWidth(), height: r.Stdio.GetHeight(),
		files: c.pod.files, shm: c.pod.shmDir(), mounts: mounts, user: id,
	})
	if err := leadMounts(c.root(), c.spec.Mounts); err != nil {
		return id, err
	}
	if err := writeJSON(filepath.Join(c.dir, "config.json"), c.spec); err != nil {
		return id, err
	}
	if err := a.lift(c.pod, c.spec.Linux.Resources); err != nil {
		return id, err
	}
	u.Push("remove cgroup", func(ctx context.Context) error {
		return errors.Join(a.cfg.Cgroups.Kill(c.cgroup()), a.cfg.Cgroups.Remove(ctx, c.cgroup()))
	})
	step("crun create")
	proc, tty, err := a.cfg.Runtime.Create(ctx, crun.Spawn{
		ID: c.id, Dir: c.dir, Command: c.spec.Process.Args[0], Files: pio.child, Terminal: pio.terminal,
	})
	if err != nil {
		return id, err
	}
	pio.start(tty, r.Stdio.GetWidth(), r.Stdio.GetHeight())
	// An OOM kill is in the exit as well; without the watch only its event is missing.
	a.cfg.Cgroups.WatchOOM(c.cgroup(), func() {
		a.events.Add(func(seq uint64) *api.Event {
			return &api.Event{Seq: seq, ContainerId: c.id, Kind: &api.Event_Oom{Oom: &api.OOM{}}}
		})
	})
	c.process = a.watch(c, "", proc, pio, c.sharesPID)
	c.execsMu.Lock()
	c.execs[""] = c.process
	c.execsMu.Unlock()
	return id, nil
}

// makeFolders makes the folders of the bundle and of the writable layer. Overlayfs moves
// files from one of the layer's two to the other, so both count as one project.
func (c *container) makeFolders(disks Disks) (upper, work string, err error) {
	upper, work = filepath.Join(c.upper, "u"), filepath.Join(c.upper, "w")
	for _, dir := range []string{c.dir, c.upper} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", "", err
		}
	}
	if err := disks.SetProject(c.upper, c.project); err != nil {
		return "", "", err
	}
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return "", "", err
	}
	if u := c.pod.namespaces.Users; u != nil {
		uid, gid := u.Root()
		return upper, work, os.Chown(upper, int(uid), int(gid))
	}
	return upper, work, nil
}

func checkLayers(layers []*api.DiskAddress, ids []string) ([]layerRef, error) {
	if n := len(layers); n == 0 || n > maxLayers || len(ids) != n {
		return nil, invalid("%d layers and %d layer_ids: want as many of both, 1 to %d", n, len(ids), maxLayers)
	}
	refs := make([]layerRef, len(layers))
	for i, l := range layers {
		if id := ids[i]; id == "" || len(id) > 256 {
			return nil, invalid("layer id of %d bytes", len(id))
		}
		refs[i] = layerRef{id: ids[i], addr: disk.Address{Controller: l.GetController(), LUN: l.GetLun()}}
	}
	return topmost(refs), nil
}

func parseResources(b []byte) (*specs.LinuxResources, error) {
	if len(b) > maxFileBytes {
		return nil, invalid("resources of %d bytes", len(b))
	}
	var r specs.LinuxResources
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, invalid("resources: %v", err)
	}
	return &r, nil
}

func writeJSON(file string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
