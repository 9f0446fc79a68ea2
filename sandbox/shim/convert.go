package shim

import (
	"slices"
	"time"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

func podToWire(p sandbox.PodSetup) *api.SetupPodRequest {
	r := &api.SetupPodRequest{
		PodId:      p.PodID,
		Hostname:   p.Hostname,
		Scratch:    &api.Disk{Path: p.Scratch.Path, Format: int32(p.Scratch.Format), ReadOnly: p.Scratch.ReadOnly},
		ResolvConf: p.ResolvConf,
		Hosts:      p.Hosts,
		Sysctls:    p.Sysctls,
		ShmBytes:   p.ShmBytes,
		Limits:     p.Limits,
		Namespaces: namespacesToWire(p.Namespaces),
	}
	for _, n := range p.NICs {
		out := &api.NIC{
			Name: n.NIC.Name, Namespace: n.NIC.Namespace, Interface: n.NIC.Interface,
			Mac: n.MAC, Mtu: int32(n.MTU), Addresses: n.Addresses,
		}
		for _, t := range n.Routes {
			out.Routes = append(out.Routes, &api.Route{
				Destination: t.Destination, Gateway: t.Gateway, Mtu: int32(t.MTU), Metric: int32(t.Metric),
			})
		}
		r.Nics = append(r.Nics, out)
	}
	return r
}

func podFromWire(r *api.SetupPodRequest) sandbox.PodSetup {
	p := sandbox.PodSetup{
		PodID:    r.GetPodId(),
		Hostname: r.GetHostname(),
		Scratch: sandbox.Disk{
			Path:     r.GetScratch().GetPath(),
			Format:   sandbox.DiskFormat(r.GetScratch().GetFormat()),
			ReadOnly: r.GetScratch().GetReadOnly(),
		},
		ResolvConf: r.GetResolvConf(),
		Hosts:      r.GetHosts(),
		Sysctls:    r.GetSysctls(),
		ShmBytes:   r.GetShmBytes(),
		Limits:     r.GetLimits(),
		Namespaces: namespacesFromWire(r.GetNamespaces()),
	}
	for _, n := range r.GetNics() {
		out := sandbox.PodNIC{
			NIC: sandbox.NIC{Name: n.GetName(), Namespace: n.GetNamespace(), Interface: n.GetInterface()},
			MAC: n.GetMac(), MTU: int(n.GetMtu()), Addresses: n.GetAddresses(),
		}
		for _, t := range n.GetRoutes() {
			out.Routes = append(out.Routes, sandbox.Route{
				Destination: t.GetDestination(), Gateway: t.GetGateway(), MTU: int(t.GetMtu()), Metric: int(t.GetMetric()),
			})
		}
		p.NICs = append(p.NICs, out)
	}
	return p
}

func containerToWire(c sandbox.ContainerSetup) *api.CreateContainerRequest {
	r := &api.CreateContainerRequest{
		PodId:       c.PodID,
		ContainerId: c.ContainerID,
		Spec:        c.Spec,
		User: &api.User{
			Spec: c.User.Spec, HasGid: c.User.HasGID, Gid: c.User.GID,
			SupplementalGroups: c.User.SupplementalGroups, StrictGroups: c.User.StrictGroups,
		},
		SharePid:  c.SharePID,
		PidTarget: c.TargetID,
		Stdin:     c.Stdin,
		StdinOnce: c.StdinOnce,
		Terminal:  c.Terminal,
		LogPath:   c.LogPath,
		LogDir:    c.LogDir,
	}
	if f := c.Found; f != nil {
		r.FoundUser = &api.FoundUser{Uid: f.UID, Gid: f.GID, Groups: f.Groups, Home: f.Home}
	}
	for _, l := range c.Layers {
		r.Layers = append(r.Layers, &api.Layer{DiffId: l.DiffID, Path: l.Path})
	}
	for _, m := range c.Mounts {
		r.Mounts = append(r.Mounts, mountToWire(m))
	}
	return r
}

func containerFromWire(r *api.CreateContainerRequest) sandbox.ContainerSetup {
	c := sandbox.ContainerSetup{
		PodID:       r.GetPodId(),
		ContainerID: r.GetContainerId(),
		Spec:        r.GetSpec(),
		User: sandbox.User{
			Spec: r.GetUser().GetSpec(), HasGID: r.GetUser().GetHasGid(), GID: r.GetUser().GetGid(),
			SupplementalGroups: r.GetUser().GetSupplementalGroups(), StrictGroups: r.GetUser().GetStrictGroups(),
		},
		SharePID:  r.GetSharePid(),
		TargetID:  r.GetPidTarget(),
		Stdin:     r.GetStdin(),
		StdinOnce: r.GetStdinOnce(),
		Terminal:  r.GetTerminal(),
		LogPath:   r.GetLogPath(),
		LogDir:    r.GetLogDir(),
	}
	if f := r.GetFoundUser(); f != nil {
		c.Found = &sandbox.FoundUser{UID: f.GetUid(), GID: f.GetGid(), Groups: f.GetGroups(), Home: f.GetHome()}
	}
	for _, l := range r.GetLayers() {
		c.Layers = append(c.Layers, sandbox.Layer{DiffID: l.GetDiffId(), Path: l.GetPath()})
	}
	for _, m := range r.GetMounts() {
		c.Mounts = append(c.Mounts, mountFromWire(m))
	}
	return c
}

func mountToWire(m sandbox.MountSetup) *api.Mount {
	out := &api.Mount{ContainerPath: m.ContainerPath, ReadOnly: m.ReadOnly, Options: m.Options, MapIds: m.MapIDs}
	switch {
	case m.Folder != nil:
		out.Source = &api.Mount_Folder{Folder: &api.FolderSource{
			Path: m.Folder.Path, Private: m.Folder.Private, HostToContainer: m.Folder.HostToContainer, Recursive: m.Folder.Recursive, FsGroup: m.Folder.FSGroup,
		}}
	case m.Disk != nil:
		out.Source = &api.Mount_Disk{Disk: &api.DiskSource{Path: m.Disk.Path, ScratchBytes: m.Disk.ScratchBytes}}
	case m.Image != nil:
		s := &api.ImageSource{SubPath: m.Image.SubPath}
		for _, l := range m.Image.Layers {
			s.Layers = append(s.Layers, &api.Layer{DiffId: l.DiffID, Path: l.Path})
		}
		out.Source = &api.Mount_Image{Image: s}
	}
	return out
}

func mountFromWire(m *api.Mount) sandbox.MountSetup {
	out := sandbox.MountSetup{ContainerPath: m.GetContainerPath(), ReadOnly: m.GetReadOnly(), Options: m.GetOptions(), MapIDs: m.GetMapIds()}
	switch s := m.GetSource().(type) {
	case *api.Mount_Folder:
		out.Folder = &sandbox.FolderSource{
			Path: s.Folder.GetPath(), Private: s.Folder.GetPrivate(), HostToContainer: s.Folder.GetHostToContainer(), Recursive: s.Folder.GetRecursive(), FSGroup: s.Folder.GetFsGroup(),
		}
	case *api.Mount_Disk:
		out.Disk = &sandbox.DiskSource{Path: s.Disk.GetPath(), ScratchBytes: s.Disk.GetScratchBytes()}
	case *api.Mount_Image:
		out.Image = &sandbox.ImageSource{SubPath: s.Image.GetSubPath()}
		for _, l := range s.Image.GetLayers() {
			out.Image.Layers = append(out.Image.Layers, sandbox.Layer{DiffID: l.GetDiffId(), Path: l.GetPath()})
		}
	}
	return out
}

func exitToWire(e sandbox.Exit) *api.Exit {
	return &api.Exit{Code: int32(e.Code), ExitedUnixNanos: e.At.UnixNano(), OomKilled: e.OOMKilled}
}

func exitFromWire(e *api.Exit) sandbox.Exit {
	return sandbox.Exit{Code: int(e.GetCode()), At: time.Unix(0, e.GetExitedUnixNanos()), OOMKilled: e.GetOomKilled()}
}

// State implements sandbox.Shim's.
func (s *Server) State() sandbox.ShimState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out sandbox.ShimState
	for id := range s.pods {
		out.Pods = append(out.Pods, id)
	}
	slices.Sort(out.Pods)
	for _, c := range s.containers {
		c.mu.Lock()
		out.Containers = append(out.Containers, sandbox.ContainerState{
			ID: c.id, PodID: c.podID, Started: c.started, StartedAt: c.startedAt, Exit: c.exit,
		})
		c.mu.Unlock()
	}
	slices.SortFunc(out.Containers, func(a, b sandbox.ContainerState) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return out
}

func stateToWire(s sandbox.ShimState) *api.StateResponse {
	r := &api.StateResponse{Pods: s.Pods}
	for _, c := range s.Containers {
		out := &api.ContainerState{Id: c.ID, PodId: c.PodID, Started: c.Started}
		if c.Started {
			out.StartedUnixNanos = c.StartedAt.UnixNano()
		}
		if c.Exit != nil {
			out.Exit = exitToWire(*c.Exit)
		}
		r.Containers = append(r.Containers, out)
	}
	return r
}

func stateFromWire(r *api.StateResponse) sandbox.ShimState {
	s := sandbox.ShimState{Pods: r.GetPods()}
	for _, c := range r.GetContainers() {
		out := sandbox.ContainerState{ID: c.GetId(), PodID: c.GetPodId(), Started: c.GetStarted()}
		if out.Started {
			out.StartedAt = time.Unix(0, c.GetStartedUnixNanos())
		}
		if e := c.GetExit(); e != nil {
			exit := exitFromWire(e)
			out.Exit = &exit
		}
		s.Containers = append(s.Containers, out)
	}
	return s
}
