package account

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// maxGroups is the kernel's limit on a process's supplementary groups.
const maxGroups = 65536

// Request asks who a process runs as.
type Request struct {
	// Spec is "", "name", "uid", "name:group", "uid:gid" or a mix; "" is root.
	Spec string
	// GID is the primary group whatever Spec says, when not nil.
	GID *uint32
	// Groups are supplementary groups to add.
	Groups []uint32
	// Strict leaves out the groups that the group file gives the user.
	Strict bool
}

// Identity is who a process runs as.
type Identity struct {
	UID, GID uint32
	// Groups are the supplementary groups. The primary group is among them, so that a
	// process can not shed it and pass a file's rule that denies the group.
	Groups []uint32
	Home   string // the user's home folder; "/" when the image does not know it
}

// Resolve answers req from the passwd and group files of an image. Either file may be
// nil when the image has none. A name the image does not know, or an id out of range,
// is an InvalidArgument error that names it. A numeric id needs no entry.
func Resolve(req Request, passwd, group io.Reader) (Identity, error) {
	userSpec, groupSpec, hasGroup := strings.Cut(req.Spec, ":")
	if hasGroup && groupSpec == "" {
		return Identity{}, fmt.Errorf("user %q names no group after the colon: %w", req.Spec, errdefs.ErrInvalidArgument)
	}
	user, err := findUser(userSpec, passwd)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{UID: user.uid, GID: user.gid, Home: user.home}
	if id.Home == "" {
		id.Home = "/"
	}

	gid, groupIsID := parseID(groupSpec)
	groupFound := false
	var members []uint32
	err = eachGroup(group, func(g groupEntry) bool {
		if hasGroup && !groupFound && (g.name == groupSpec || groupIsID && g.gid == gid) {
			id.GID, groupFound = g.gid, true
		}
		if !req.Strict && user.name != "" && slices.Contains(g.members, user.name) && len(members) < maxGroups {
			members = append(members, g.gid)
		}
		return true
	})
	if err != nil {
		return Identity{}, err
	}
	switch {
	case !hasGroup || groupFound:
	case groupIsID:
		id.GID = gid
	default:
		return Identity{}, fmt.Errorf("group %q is not in the image's /etc/group: %w", groupSpec, errdefs.ErrInvalidArgument)
	}
	if req.GID != nil {
		id.GID = *req.GID
	}
	if id.GID > maxID {
		return Identity{}, fmt.Errorf("group id %d is above %d: %w", id.GID, maxID, errdefs.ErrInvalidArgument)
	}
	id.Groups = append(append([]uint32{id.GID}, members...), req.Groups...)
	id.Groups = unique(id.Groups)
	if len(id.Groups) > maxGroups {
		return Identity{}, fmt.Errorf("%d groups: more than %d: %w", len(id.Groups), maxGroups, errdefs.ErrInvalidArgument)
	}
	return id, nil
}

// findUser finds spec by name and else by number, as other runtimes do: a user may be
// named "1000". A number without an entry is a user of group 0 with no name.
func findUser(spec string, passwd io.Reader) (userEntry, error) {
	if spec == "" {
		spec = "0"
	}
	uid, isID := parseID(spec)
	var byName, byID *userEntry
	err := eachUser(passwd, func(e userEntry) bool {
		if e.name == spec {
			byName = &e
			return false
		}
		if isID && byID == nil && e.uid == uid {
			byID = &e
		}
		return true
	})
	switch {
	case err != nil:
		return userEntry{}, err
	case byName != nil:
		return *byName, nil
	case byID != nil:
		return *byID, nil
	case isID && uid == 0:
		return userEntry{home: "/root"}, nil
	case isID:
		return userEntry{uid: uid}, nil
	}
	return userEntry{}, fmt.Errorf("user %q is not in the image's /etc/passwd: %w", spec, errdefs.ErrInvalidArgument)
}

// unique drops repeated ids and keeps the order of the first ones.
func unique(ids []uint32) []uint32 {
	seen := make(map[uint32]bool, len(ids))
	return slices.DeleteFunc(ids, func(id uint32) bool {
		if seen[id] {
			return true
		}
		seen[id] = true
		return false
	})
}
