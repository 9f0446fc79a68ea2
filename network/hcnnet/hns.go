package hcnnet

import "encoding/json"

// HNS is the Host Network Service as a Host needs it. Its calls block until HNS answers
// and cannot be given up. Ids are GUIDs in any case of letters. Errors that HNS reports
// are *Error; what is not there is errdefs.ErrNotFound. Safe for concurrent use.
type HNS interface {
	Namespaces
	Endpoints
	// Version returns the version of HNS: it runs and takes calls, then.
	Version() (Version, error)
	// Network returns the network with this id.
	Network(id string) (Network, error)
	// EndpointStats returns the counters of an endpoint since it was made.
	EndpointStats(id string) (Stats, error)
}

// Namespaces are HCN's network namespaces (HcnCreateNamespace and its kin).
type Namespaces interface {
	// CreateNamespace makes a namespace and asks for its id to be the one given. HNS
	// may choose another: the id that counts is the one returned.
	CreateNamespace(id string) (string, error)
	// NamespaceEndpoints returns the ids of the endpoints in a namespace.
	NamespaceEndpoints(id string) ([]string, error)
	// DeleteNamespace deletes an empty namespace.
	DeleteNamespace(id string) error
}

// Endpoints are HNS's endpoints (HcnQueryEndpointProperties and its kin).
type Endpoints interface {
	// Endpoint returns the endpoint with this id.
	Endpoint(id string) (Endpoint, error)
	// Endpoints returns all endpoints of the host.
	Endpoints() ([]Endpoint, error)
	// RemoveEndpoint takes an endpoint out of a namespace.
	RemoveEndpoint(namespace, id string) error
	// DeleteEndpoint deletes an endpoint.
	DeleteEndpoint(id string) error
}

// Version is a version of HNS. Schema 2, with namespaces, is there from 9.2 on (hnslib's
// V2ApiSupported).
type Version struct{ Major, Minor int }

// Endpoint is what HNS tells of an endpoint: HostComputeEndpoint of HCN's schema 2.
type Endpoint struct {
	ID        string     `json:"ID"`
	Name      string     `json:"Name"`
	Network   string     `json:"HostComputeNetwork"`   // id
	Namespace string     `json:"HostComputeNamespace"` // id; empty: in none
	MAC       string     `json:"MacAddress"`           // 00-15-5D-01-02-03
	Addresses []IPConfig `json:"IpConfigurations"`
	Routes    []Route    `json:"Routes"`
	DNS       DNS        `json:"Dns"`
	Policies  []Policy   `json:"Policies"`
}

// IPConfig is an address of an endpoint.
type IPConfig struct {
	Address      string `json:"IpAddress"`
	PrefixLength uint8  `json:"PrefixLength"` // 0: as the network's subnet has it
}

// Route is a route of an endpoint.
type Route struct {
	Destination string `json:"DestinationPrefix"`
	NextHop     string `json:"NextHop"` // unspecified: on link
	Metric      uint16 `json:"Metric"`
}

// DNS is the resolver configuration of an endpoint.
type DNS struct {
	Domain  string   `json:"Domain"`
	Search  []string `json:"Search"`
	Servers []string `json:"ServerList"`
	Options []string `json:"Options"`
}

// Policy is a policy of an endpoint.
type Policy struct {
	Type     string          `json:"Type"`
	Settings json.RawMessage `json:"Settings"`
}

// Network is what HNS tells of a network.
type Network struct {
	ID, Name string
	Type     string   // L2Bridge, L2Tunnel, Overlay, NAT, Transparent …
	Subnets  []string // CIDRs
}

// Stats are an endpoint's counters, seen from the endpoint's user: received is what went
// to the pod.
type Stats struct {
	BytesReceived, BytesSent     uint64
	PacketsReceived, PacketsSent uint64
	DroppedIncoming              uint64 // packets
	DroppedOutgoing              uint64
}
