package main

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs"
)

// openShare opens a folder as pods get it, and names the backend.
func openShare(dir string) (share.Backend, string, error) {
	b, err := ntfs.Open(dir, ntfs.Options{})
	return b, "ntfs", err
}
