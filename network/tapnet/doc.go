// Package tapnet is the Linux end of a VM's network: a tap interface that waits in the
// host's network namespace, moves into a pod's namespace when the pod gets its network,
// and is joined there to CNI's interface by tc redirect, both ways.
//
// It is not for addresses and routes: CNI gives them and the guest sets them. It does
// not read or write packets: the hypervisor does, on the tap's descriptor.
//
// A Tap is made by Create and lives until Remove or until the last copy of its
// descriptor closes: it is not persistent, so that a crash leaves no interface. Join and
// Leave may follow each other many times. A Tap is safe for concurrent use.
package tapnet

import (
	"crypto/sha256"
	"encoding/hex"
)

// Name returns the interface name for the VM with this id: 14 characters, within the
// kernel's 15, from a hash as ids are longer.
func Name(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "ph" + hex.EncodeToString(sum[:6])
}
