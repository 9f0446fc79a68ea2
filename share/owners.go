package share

import (
	"fmt"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Owners has the guest see owners through a pod's user namespace, as a mount with mapped
// ids does where the kernel can (FUSE: since Linux 6.12): ids of the host from 0 on are ids
// of the guest from another number on. What belongs to others belongs to nobody there, and
// those whom no id of the host stands for can make nothing.
type Owners struct{ UIDs, GIDs IDRange }

// IDRange says that the ids of the host from 0 on are Length ids of the guest from First on.
type IDRange struct{ First, Length uint32 }

// Check refuses a range that there cannot be.
func (r IDRange) Check() error {
	if r.Length == 0 || uint64(r.First)+uint64(r.Length) > noID {
		return fmt.Errorf("%d ids from %d on are no range of ids", r.Length, r.First)
	}
	return nil
}

const (
	noID = 1<<32 - 1
	// overflowID is the kernel's for owners that a namespace has no id for.
	overflowID = 65534
)

// host is the host's id that a guest's stands for.
func (r IDRange) host(guest uint32) (id uint32, ok bool) {
	if guest < r.First || guest-r.First >= r.Length {
		return noID, false
	}
	return guest - r.First, true
}

// guest is the way back.
func (r IDRange) guest(host uint32) uint32 {
	if host >= r.Length {
		return overflowID
	}
	return r.First + host
}

// makes are the operations whose caller owns what they make.
var makes = map[fuse.Opcode]bool{
	fuse.OpMknod: true, fuse.OpMkdir: true, fuse.OpSymlink: true, fuse.OpCreate: true, fuse.OpTmpfile: true,
}

// mapCaller turns a request's caller into who it is on the host.
func (s *Session) mapCaller(r *request) error {
	if s.owners == nil {
		return nil
	}
	uid, user := s.owners.UIDs.host(r.UID)
	gid, group := s.owners.GIDs.host(r.GID)
	if (!user || !group) && makes[r.Opcode] {
		return posix.EOVERFLOW
	}
	r.UID, r.GID = uid, gid
	return nil
}

// mapChange turns the owners that a request sets.
func (s *Session) mapChange(set *SetAttr) error {
	if s.owners == nil {
		return nil
	}
	for _, f := range []struct {
		field SetFields
		ids   IDRange
		id    *uint32
	}{{SetUID, s.owners.UIDs, &set.UID}, {SetGID, s.owners.GIDs, &set.GID}} {
		if set.Fields&f.field == 0 {
			continue
		}
		var ok bool
		if *f.id, ok = f.ids.host(*f.id); !ok {
			return posix.EOVERFLOW
		}
	}
	return nil
}

// wireAttr is a file's attributes as the guest sees them.
func (s *Session) wireAttr(a *Attr) fuse.Attr {
	out := wireAttr(a)
	if s.owners != nil {
		out.UID, out.GID = s.owners.UIDs.guest(a.UID), s.owners.GIDs.guest(a.GID)
	}
	return out
}
