package guest

import "github.com/porthole-run/porthole/guest/api"

func podRequest(p Pod) *api.CreatePodRequest {
	r := &api.CreatePodRequest{
		PodId:    p.ID,
		Hostname: p.Hostname,
		Scratch:  diskRequest(p.Scratch),

		ScratchMounted: p.ScratchMounted,

		ResolvConf: p.ResolvConf,
		Hosts:      p.Hosts,
		Sysctls:    p.Sysctls,
		ShmBytes:   p.ShmBytes,
		Limits:     p.Limits,
	}
	if n := p.Namespaces; n != (PodNamespaces{}) {
		r.Namespaces = &api.PodNamespaces{VmNetwork: n.VMNetwork, VmPid: n.VMPID, VmIpc: n.VMIPC}
		if n.Users != nil {
			r.Namespaces.Users = &api.UserNamespace{Uids: mappingRequest(n.Users.UIDs), Gids: mappingRequest(n.Users.GIDs)}
		}
	}
	for _, i := range p.Interfaces {
		out := &api.Interface{Name: i.Name, BootMac: i.BootMAC, Mac: i.MAC, Mtu: i.MTU}
		for _, a := range i.Addresses {
			out.Addresses = append(out.Addresses, &api.Address{Cidr: a})
		}
		for _, t := range i.Routes {
			out.Routes = append(out.Routes, &api.Route{
				Destination: t.Destination, Gateway: t.Gateway, Mtu: t.MTU, Metric: t.Metric,
			})
		}
		r.Interfaces = append(r.Interfaces, out)
	}
	return r
}

func containerRequest(c Container) *api.CreateContainerRequest {
	r := &api.CreateContainerRequest{
		PodId:       c.PodID,
		ContainerId: c.ID,
		Spec:        c.Spec,
		User: &api.User{
			Spec:               c.User.Spec,
			HasGid:             c.User.HasGID,
			Gid:                c.User.GID,
			SupplementalGroups: c.User.SupplementalGroups,
			StrictGroups:       c.User.StrictGroups,
		},
		Stdio: stdioRequest(c.Stdio),
	}
	if f := c.Found; f != nil {
		r.FoundUser = &api.ResolvedUser{Uid: f.UID, Gid: f.GID, AdditionalGids: f.Groups, Home: f.Home}
	}
	switch {
	case c.TargetID != "":
		r.PidNamespace, r.PidTarget = api.PIDNamespace_PID_NAMESPACE_TARGET, c.TargetID
	case c.SharePID:
		r.PidNamespace = api.PIDNamespace_PID_NAMESPACE_POD
	}
	for _, l := range c.Layers {
		r.Layers = append(r.Layers, diskRequest(l.Disk))
		r.LayerIds = append(r.LayerIds, l.ID)
	}
	for _, m := range c.Mounts {
		r.Mounts = append(r.Mounts, mountRequest(m))
	}
	return r
}

func mountRequest(m Mount) *api.Mount {
	out := &api.Mount{ContainerPath: m.Path, ReadOnly: m.ReadOnly, Options: m.Options, MapIds: m.MapIDs}
	switch {
	case m.Image != nil:
		s := &api.ImageSource{SubPath: m.Image.SubPath}
		for _, l := range m.Image.Layers {
			s.Layers = append(s.Layers, diskRequest(l.Disk))
			s.LayerIds = append(s.LayerIds, l.ID)
		}
		out.Source = &api.Mount_Image{Image: s}
	case m.Disk != nil:
		s := &api.DiskSource{
			Address: diskRequest(m.Disk.Disk), VolumeId: m.Disk.ID,
			FormatBlank: m.Disk.FormatBlank, ReadOnly: m.Disk.ReadOnly,
		}
		if r := m.Disk.NewRoot; r != nil {
			s.NewRoot = &api.DiskRoot{Mode: r.Mode, Uid: r.UID, Gid: r.GID}
		}
		out.Source = &api.Mount_Disk{Disk: s}
	default:
		out.Source = &api.Mount_Share{Share: &api.ShareSource{ShareId: m.ShareID}}
	}
	return out
}

func mappingRequest(m IDMapping) *api.IDMapping {
	return &api.IDMapping{ContainerId: m.ContainerID, HostId: m.HostID, Length: m.Length}
}

func diskRequest(d DiskAddress) *api.DiskAddress {
	return &api.DiskAddress{Controller: d.Controller, Lun: d.LUN}
}

func stdioRequest(s Stdio) *api.Stdio {
	return &api.Stdio{
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
		Terminal: s.Terminal, Width: uint32(s.Width), Height: uint32(s.Height),
	}
}
