package ntfs

import (
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/backendtest"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
)

// TestBackend runs what every backend passes over the fake; with and without 8.3
// aliases. Without the case flag names that differ in case alone cannot both be:
// TestExactCaseAndAliases.
func TestBackend(t *testing.T) {
	for name, c := range map[string]ntfake.Config{
		"usual":      {},
		"no-aliases": {NoShortNames: true},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) share.Backend { return newFixture(t, c).b },
				backendtest.Options{Hidden: []string{"user.containers.override_stat", "user.LXCRI.XATTR"}})
		})
	}
}
