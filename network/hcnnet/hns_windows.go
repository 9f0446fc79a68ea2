package hcnnet

import (
	"errors"
	"fmt"

	"github.com/Microsoft/hnslib"
	"github.com/Microsoft/hnslib/hcn"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/windows"
)

// systemHNS is this host's HNS.
type systemHNS struct{}

var _ HNS = systemHNS{}

// SystemHNS returns this host's HNS. The error says what the host lacks; whether HNS runs
// is for its calls to say.
func SystemHNS() (HNS, error) {
	// The library panics where these are not there.
	for _, dll := range []string{"computenetwork.dll", "vmcompute.dll"} {
		if err := windows.NewLazySystemDLL(dll).Load(); err != nil {
			return nil, fmt.Errorf("find the host network service: %w: %s: %w", err, containers, errdefs.ErrFailedPrecondition)
		}
	}
	return systemHNS{}, nil
}

func (systemHNS) Version() (Version, error) {
	g, err := hcn.GetGlobals()
	if err != nil {
		return Version{}, failure("GetGlobals", "", err)
	}
	return Version{Major: g.Version.Major, Minor: g.Version.Minor}, nil
}

func (systemHNS) CreateNamespace(id string) (string, error) {
	// No type: HNS's own default, as other runtimes on Windows ask for.
	ns, err := (&hcn.HostComputeNamespace{Id: id, SchemaVersion: hcn.V2SchemaVersion()}).Create()
	if err != nil {
		return "", failure("CreateNamespace", id, err)
	}
	return ns.Id, nil
}

func (systemHNS) NamespaceEndpoints(id string) ([]string, error) {
	ids, err := hcn.GetNamespaceEndpointIds(id)
	return ids, failure("GetNamespace", id, err)
}

func (systemHNS) DeleteNamespace(id string) error {
	return failure("DeleteNamespace", id, (&hcn.HostComputeNamespace{Id: id}).Delete())
}

func (systemHNS) Endpoint(id string) (Endpoint, error) {
	e, err := hcn.GetEndpointByID(id)
	if err != nil {
		return Endpoint{}, failure("GetEndpoint", id, err)
	}
	return endpoint(*e), nil
}

func (systemHNS) Endpoints() ([]Endpoint, error) {
	list, err := hcn.ListEndpoints()
	if err != nil {
		return nil, failure("ListEndpoints", "", err)
	}
	out := make([]Endpoint, len(list))
	for i, e := range list {
		out[i] = endpoint(e)
	}
	return out, nil
}

func (systemHNS) RemoveEndpoint(namespace, id string) error {
	return failure("RemoveNamespaceEndpoint", id, hcn.RemoveNamespaceEndpoint(namespace, id))
}

func (systemHNS) DeleteEndpoint(id string) error {
	return failure("DeleteEndpoint", id, (&hcn.HostComputeEndpoint{Id: id}).Delete())
}

func (systemHNS) Network(id string) (Network, error) {
	n, err := hcn.GetNetworkByID(id)
	if err != nil {
		return Network{}, failure("GetNetwork", id, err)
	}
	out := Network{ID: n.Id, Name: n.Name, Type: string(n.Type)}
	for _, ipam := range n.Ipams {
		for _, s := range ipam.Subnets {
			out.Subnets = append(out.Subnets, s.IpAddressPrefix)
		}
	}
	return out, nil
}

// EndpointStats asks by the older HNS call: schema 2 has none for counters.
func (systemHNS) EndpointStats(id string) (Stats, error) {
	s, err := hnslib.GetHNSEndpointStats(id)
	if err != nil {
		return Stats{}, failure("EndpointStats", id, err)
	}
	return Stats{
		BytesReceived: s.BytesReceived, BytesSent: s.BytesSent,
		PacketsReceived: s.PacketsReceived, PacketsSent: s.PacketsSent,
		DroppedIncoming: s.DroppedPacketsIncoming, DroppedOutgoing: s.DroppedPacketsOutgoing,
	}, nil
}

func endpoint(e hcn.HostComputeEndpoint) Endpoint {
	out := Endpoint{
		ID: e.Id, Name: e.Name, Network: e.HostComputeNetwork, Namespace: e.HostComputeNamespace, MAC: e.MacAddress,
		DNS: DNS{Domain: e.Dns.Domain, Search: e.Dns.Search, Servers: e.Dns.ServerList, Options: e.Dns.Options},
	}
	for _, a := range e.IpConfigurations {
		out.Addresses = append(out.Addresses, IPConfig{Address: a.IpAddress, PrefixLength: a.PrefixLength})
	}
	for _, r := range e.Routes {
		out.Routes = append(out.Routes, Route{Destination: r.DestinationPrefix, NextHop: r.NextHop, Metric: r.Metric})
	}
	for _, p := range e.Policies {
		out.Policies = append(out.Policies, Policy{Type: string(p.Type), Settings: p.Settings})
	}
	return out
}

// failure makes an *Error of the library's errors, whose code is not public but as the
// error that they wrap; nil of nil.
func failure(op, id string, err error) error {
	if err == nil {
		return nil
	}
	var code uint32
	var failed *hcn.HcnError
	var errno windows.Errno
	switch {
	case errors.As(err, &failed) && failed.HnsError != nil:
		if errors.As(failed.HnsError.Err, &errno) {
			code = uint32(errno)
		}
	case errors.As(err, &errno):
		code = uint32(errno)
	case hcn.IsNotFoundError(err):
		code = codeNotFound
	}
	return NewError(op, id, code, err.Error())
}
