package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// idBytes is the length of ids before they are written as hex digits.
const idBytes = 16

// NewID makes an id for a VM that no pod has yet: the pod that gets it takes its id.
func NewID() string { return newID() }

func newID() string {
	var b [idBytes]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// validID tells ids from other names in the folder of records.
func validID(s string) bool {
	return len(s) == 2*idBytes && strings.Trim(s, "0123456789abcdef") == ""
}

// lookup finds an object by its id or a prefix that no other id has. Those for which
// visible is false are as good as not there.
func lookup[T any](kind string, all map[string]T, id string, visible func(T) bool) (T, error) {
	var none T
	if id == "" {
		return none, fmt.Errorf("%s id is empty: %w", kind, errdefs.ErrInvalidArgument)
	}
	if v, ok := all[id]; ok && visible(v) {
		return v, nil
	}
	var found T
	n := 0
	if len(id) < 2*idBytes {
		for k, v := range all {
			if strings.HasPrefix(k, id) && visible(v) {
				found = v
				n++
			}
		}
	}
	switch n {
	case 0:
		return none, fmt.Errorf("%s %q: %w", kind, id, errdefs.ErrNotFound)
	case 1:
		return found, nil
	}
	return none, fmt.Errorf("%s id %q is the start of %d ids: %w", kind, id, n, errdefs.ErrInvalidArgument)
}

// podKey is what makes a pod one of its kind to the caller.
type podKey struct {
	name, namespace, uid string
	attempt              uint32
}

func keyOfPod(c PodConfig) podKey { return podKey{c.Name, c.Namespace, c.UID, c.Attempt} }

// containerKey is what makes a container one of its kind to the caller.
type containerKey struct {
	podID, name string
	attempt     uint32
}

func keyOfContainer(podID string, c ContainerConfig) containerKey {
	return containerKey{podID, c.Name, c.Attempt}
}
