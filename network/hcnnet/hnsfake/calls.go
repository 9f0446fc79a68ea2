package hnsfake

import (
	"maps"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// Version implements hcnnet.HNS.
func (h *HNS) Version() (hcnnet.Version, error) {
	defer h.leave()
	if err := h.enter("GetGlobals", ""); err != nil {
		return hcnnet.Version{}, err
	}
	return h.version, nil
}

// CreateNamespace implements hcnnet.HNS.
func (h *HNS) CreateNamespace(id string) (string, error) {
	defer h.leave()
	if err := h.enter("CreateNamespace", id); err != nil {
		return "", err
	}
	id = strings.ToLower(id)
	if h.ownIDs || id == "" {
		id = h.newID()
	}
	if _, ok := h.namespaces[id]; ok {
		return "", hcnnet.NewError("CreateNamespace", id, alreadyExists, "")
	}
	h.namespaces[id] = make(map[string]bool)
	return id, nil
}

// NamespaceEndpoints implements hcnnet.HNS. It has the ids in upper case, as some builds
// of Windows.
func (h *HNS) NamespaceEndpoints(id string) ([]string, error) {
	defer h.leave()
	if err := h.enter("GetNamespace", id); err != nil {
		return nil, err
	}
	members, ok := h.namespaces[strings.ToLower(id)]
	if !ok {
		return nil, hcnnet.NewError("GetNamespace", id, notFound, "")
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(members)) {
		ids = append(ids, strings.ToUpper(id))
	}
	return ids, nil
}

// DeleteNamespace implements hcnnet.HNS. One with endpoints is in use.
func (h *HNS) DeleteNamespace(id string) error {
	defer h.leave()
	if err := h.enter("DeleteNamespace", id); err != nil {
		return err
	}
	id = strings.ToLower(id)
	switch members, ok := h.namespaces[id]; {
	case !ok:
		return hcnnet.NewError("DeleteNamespace", id, notFound, "")
	case len(members) > 0:
		return hcnnet.NewError("DeleteNamespace", id, inUse, "")
	}
	delete(h.namespaces, id)
	return nil
}

// AddEndpoint puts an endpoint into a namespace, as plugins do.
func (h *HNS) AddEndpoint(namespace, id string) error {
	defer h.leave()
	if err := h.enter("AddNamespaceEndpoint", id); err != nil {
		return err
	}
	namespace, id = strings.ToLower(namespace), strings.ToLower(id)
	members, ok := h.namespaces[namespace]
	if !ok {
		return hcnnet.NewError("AddNamespaceEndpoint", namespace, notFound, "")
	}
	e := h.endpoints[id]
	switch {
	case e == nil:
		return hcnnet.NewError("AddNamespaceEndpoint", id, noEndpoint, "")
	case e.Namespace != "":
		return hcnnet.NewError("AddNamespaceEndpoint", id, alreadyAttached, "")
	}
	members[id], e.Namespace = true, namespace
	return nil
}

// RemoveEndpoint implements hcnnet.HNS.
func (h *HNS) RemoveEndpoint(namespace, id string) error {
	defer h.leave()
	if err := h.enter("RemoveNamespaceEndpoint", id); err != nil {
		return err
	}
	namespace, id = strings.ToLower(namespace), strings.ToLower(id)
	if !h.namespaces[namespace][id] {
		return hcnnet.NewError("RemoveNamespaceEndpoint", id, notFound, "")
	}
	delete(h.namespaces[namespace], id)
	h.endpoints[id].Namespace = ""
	return nil
}

// Endpoint implements hcnnet.HNS.
func (h *HNS) Endpoint(id string) (hcnnet.Endpoint, error) {
	defer h.leave()
	if err := h.enter("GetEndpoint", id); err != nil {
		return hcnnet.Endpoint{}, err
	}
	e := h.endpoints[strings.ToLower(id)]
	if e == nil {
		return hcnnet.Endpoint{}, hcnnet.NewError("GetEndpoint", id, noEndpoint, "")
	}
	return e.Endpoint, nil
}

// EndpointByName returns the endpoint of this name, as plugins find theirs.
func (h *HNS) EndpointByName(name string) (hcnnet.Endpoint, error) {
	all, err := h.Endpoints()
	if err != nil {
		return hcnnet.Endpoint{}, err
	}
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
	}
	return hcnnet.Endpoint{}, hcnnet.NewError("GetEndpoint", name, notFound, "")
}

// Endpoints implements hcnnet.HNS.
func (h *HNS) Endpoints() ([]hcnnet.Endpoint, error) {
	defer h.leave()
	if err := h.enter("ListEndpoints", ""); err != nil {
		return nil, err
	}
	var list []hcnnet.Endpoint
	for _, id := range slices.Sorted(maps.Keys(h.endpoints)) {
		list = append(list, h.endpoints[id].Endpoint)
	}
	return list, nil
}

// DeleteEndpoint implements hcnnet.HNS. It takes the endpoint out of its namespace.
func (h *HNS) DeleteEndpoint(id string) error {
	defer h.leave()
	if err := h.enter("DeleteEndpoint", id); err != nil {
		return err
	}
	id = strings.ToLower(id)
	e := h.endpoints[id]
	if e == nil {
		return hcnnet.NewError("DeleteEndpoint", id, notFound, "")
	}
	delete(h.namespaces[e.Namespace], id)
	delete(h.endpoints, id)
	return nil
}

// Network implements hcnnet.HNS.
func (h *HNS) Network(id string) (hcnnet.Network, error) {
	defer h.leave()
	if err := h.enter("GetNetwork", id); err != nil {
		return hcnnet.Network{}, err
	}
	n := h.networks[strings.ToLower(id)]
	if n == nil {
		return hcnnet.Network{}, hcnnet.NewError("GetNetwork", id, noNetwork, "")
	}
	return n.Network, nil
}

// EndpointStats implements hcnnet.HNS.
func (h *HNS) EndpointStats(id string) (hcnnet.Stats, error) {
	defer h.leave()
	if err := h.enter("EndpointStats", id); err != nil {
		return hcnnet.Stats{}, err
	}
	e := h.endpoints[strings.ToLower(id)]
	if e == nil {
		return hcnnet.Stats{}, hcnnet.NewError("EndpointStats", id, notFound, "")
	}
	return e.stats, nil
}

// Networks are all networks of the host.
func (h *HNS) Networks() ([]hcnnet.Network, error) {
	defer h.leave()
	if err := h.enter("ListNetworks", ""); err != nil {
		return nil, err
	}
	var list []hcnnet.Network
	for _, id := range slices.Sorted(maps.Keys(h.networks)) {
		list = append(list, h.networks[id].Network)
	}
	return list, nil
}

// Namespaces are the ids of all namespaces.
func (h *HNS) Namespaces() ([]string, error) {
	defer h.leave()
	if err := h.enter("ListNamespaces", ""); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(h.namespaces)), nil
}

// DeleteNetwork deletes a network, with its endpoints.
func (h *HNS) DeleteNetwork(id string) error {
	defer h.leave()
	if err := h.enter("DeleteNetwork", id); err != nil {
		return err
	}
	id = strings.ToLower(id)
	if h.networks[id] == nil {
		return hcnnet.NewError("DeleteNetwork", id, noNetwork, "")
	}
	delete(h.networks, id)
	for eid, e := range h.endpoints {
		if e.Network == id {
			delete(h.namespaces[e.Namespace], eid)
			delete(h.endpoints, eid)
		}
	}
	return nil
}

// Gateways are a network's gateways, by subnet; empty: none.
func (h *HNS) Gateways(id string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.networks[strings.ToLower(id)]; n != nil {
		return slices.Clone(n.gateways)
	}
	return nil
}
