package main

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
)

// openShare opens a folder as pods get it, and names the backend.
func openShare(dir string) (share.Backend, string, error) {
	b, err := hostfs.Open(dir, hostfs.Options{})
	return b, "hostfs", err
}
