package guest

import "github.com/porthole-run/porthole/guest/api"

func podRequest(p Pod) *api.CreatePodRequest {
	r := &api.CreatePodRequest{
		PodId:      p.ID,
		Hostname:   p.Hostname,
		Scratch:    diskRequest(p.Scratch),
		ResolvConf: p.ResolvConf,
		Hosts:      p.Hosts,
		Sysctls:    p.Sysctls,
		ShmBytes:   p.ShmBytes,
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
	if c.SharePID {
		r.PidNamespace = api.PIDNamespace_PID_NAMESPACE_POD
	}
	for _, l := range c.Layers {
		r.Layers = append(r.Layers, diskRequest(l.Disk))
		r.LayerIds = append(r.LayerIds, l.ID)
	}
	return r
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
