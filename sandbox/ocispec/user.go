package ocispec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/sandbox"
)

// userOf is who the process runs as: the caller's uid or name, else the image's user.
// Groups of the pod apply to each of its containers.
func userOf(pod, c sandbox.Security, img sandbox.ImageConfig) (sandbox.User, error) {
	none := sandbox.User{}
	u := sandbox.User{StrictGroups: c.StrictGroups || pod.StrictGroups}
	switch {
	case c.RunAsUser != nil && c.RunAsUsername != "":
		return none, invalid("security.runAsUsername", "is set together with runAsUser")
	case c.RunAsGroup != nil && c.RunAsUser == nil && c.RunAsUsername == "":
		return none, invalid("security.runAsGroup", "is set without runAsUser or runAsUsername")
	case c.RunAsUser != nil:
		uid, err := id("security.runAsUser", *c.RunAsUser)
		if err != nil {
			return none, err
		}
		u.Spec = strconv.FormatUint(uint64(uid), 10)
	case c.RunAsUsername != "":
		if strings.ContainsAny(c.RunAsUsername, ":\x00\n") {
			return none, invalid("security.runAsUsername", "%q is not a user's name", c.RunAsUsername)
		}
		u.Spec = c.RunAsUsername
	default:
		u.Spec = img.User
	}
	if c.RunAsGroup != nil {
		gid, err := id("security.runAsGroup", *c.RunAsGroup)
		if err != nil {
			return none, err
		}
		u.HasGID, u.GID = true, gid
	}
	for _, groups := range [][]int64{c.SupplementalGroups, pod.SupplementalGroups} {
		for i, g := range groups {
			gid, err := id(fmt.Sprintf("security.supplementalGroups[%d]", i), g)
			if err != nil {
				return none, err
			}
			if !slices.Contains(u.SupplementalGroups, gid) {
				u.SupplementalGroups = append(u.SupplementalGroups, gid)
			}
		}
	}
	return u, nil
}

// id checks a user or group id; the highest number means "none" to Linux.
func id(field string, n int64) (uint32, error) {
	if n < 0 || n >= math.MaxUint32 {
		return 0, invalid(field, "%d is not an id", n)
	}
	return uint32(n), nil
}
