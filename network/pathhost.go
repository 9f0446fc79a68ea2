package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// namespaces is what a pathHost needs of Linux's network namespaces.
type namespaces interface {
	// create makes a namespace with loopback up, held by a file at path.
	create(path string) error
	// remove removes it; one that is gone is no error.
	remove(path string) error
	// alive tells whether path holds a namespace.
	alive(path string) bool
	// inspect returns what an interface in it has.
	inspect(path, ifname string) (link, error)
}

// link is an interface as the kernel has it.
type link struct {
	mac    string
	mtu    int
	routes []Route // of the main table, without those that follow from addresses
}

// pathHost is a Host whose namespaces are files in a folder, each named for its pod.
type pathHost struct {
	dir string
	ns  namespaces
}

var _ Host = pathHost{}

func (h pathHost) path(id string) string { return filepath.Join(h.dir, id) }

// Create implements Host.
func (h pathHost) Create(_ context.Context, id string) (string, error) {
	return h.path(id), h.ns.create(h.path(id))
}

// Find implements Host.
func (h pathHost) Find(_ context.Context, id string) (string, error) {
	if !h.ns.alive(h.path(id)) {
		return "", nil // by the CNI specification: free what is outside of it
	}
	return h.path(id), nil
}

// Read implements Host.
func (h pathHost) Read(_ context.Context, _, path string, added *types100.Result) (Result, error) {
	r, err := convert(added)
	if err != nil {
		return Result{}, fmt.Errorf("result of the plugins: %w", err)
	}
	l, err := h.ns.inspect(path, interfaceName)
	if err != nil {
		return Result{}, err
	}
	r.NICs[0].complete(l)
	return r, nil
}

// Remove implements Host.
func (h pathHost) Remove(_ context.Context, id string) error { return h.ns.remove(h.path(id)) }

// Ready implements Host.
func (pathHost) Ready(context.Context) error { return nil }

// Pods implements Host.
func (h pathHost) Pods() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}
