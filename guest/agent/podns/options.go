package podns

import "fmt"

// Options say how a pod's namespaces differ from the usual: those of its own but the user
// namespace, which is the VM's.
type Options struct {
	VMNetwork, VMIPC, VMPID bool   // that of the VM instead
	Users                   *Users // nil: the VM's
}

// Users is a user namespace of a pod.
type Users struct{ UIDs, GIDs Mapping }

// Mapping says that Length ids from Inside on are those from Outside on in the VM.
type Mapping struct{ Inside, Outside, Length uint32 }

// Root is who the namespace's root is in the VM.
func (u *Users) Root() (uid, gid uint32) { return u.UIDs.Outside, u.GIDs.Outside }

// Check refuses what the kernel would, and a namespace without a root.
func (m Mapping) Check() error {
	switch {
	case m.Inside != 0:
		return fmt.Errorf("id 0 is not mapped")
	case m.Length == 0:
		return fmt.Errorf("no ids are mapped")
	case uint64(m.Outside)+uint64(m.Length) > noID:
		return fmt.Errorf("%d ids from %d on are more than there are", m.Length, m.Outside)
	}
	return nil
}

// Has tells whether an id of the namespace is mapped.
func (m Mapping) Has(id uint32) bool { return id < m.Length }

// noID is the id that is none.
const noID = 1<<32 - 1
