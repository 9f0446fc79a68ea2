package hcnnet

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// LookUp returns the MAC of an endpoint that is in a namespace, for who plugs it into a
// VM: the adapter must have that MAC, as HNS forwards no other. NotFound when the endpoint is
// not there or not in the namespace. It waits for HNS a minute at most.
func LookUp(ctx context.Context, hns HNS, namespace, id string) (net.HardwareAddr, error) {
	c := newCaller(defaultPatience)
	ids, err := ask(ctx, c, "list endpoints of HCN namespace", func() ([]string, error) { return hns.NamespaceEndpoints(namespace) })
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(ids, func(have string) bool { return strings.EqualFold(have, id) }) {
		return nil, fmt.Errorf("endpoint %s is not in HCN namespace %s: %w", id, namespace, errdefs.ErrNotFound)
	}
	e, err := ask(ctx, c, "read endpoint", func() (Endpoint, error) { return hns.Endpoint(id) })
	if err != nil {
		return nil, err
	}
	return e.mac()
}

func (e Endpoint) mac() (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(e.MAC)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("MAC %q of endpoint %s is not six bytes: %w", e.MAC, e.ID, errdefs.ErrInternal)
	}
	return mac, nil
}
