package memfs_test

import (
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/backendtest"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(*testing.T) share.Backend { return memfs.New(memfs.Options{}) }, backendtest.Options{})
}
