//go:build !windows

package writers

import (
	"fmt"
	"os"
	"os/user"
	"strings"
	"syscall"
)

func look(path string, role Role) ([]Writer, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: its owner is not told", path)
	}
	found := Mode{Mode: fi.Mode(), UID: st.Uid, GID: st.Gid}.Writers(role)
	for i, w := range found {
		if id, is := strings.CutPrefix(w.ID, "uid "); is {
			if u, err := user.LookupId(id); err == nil {
				found[i].Name = u.Username
			}
		}
		if id, is := strings.CutPrefix(w.ID, "gid "); is {
			if g, err := user.LookupGroupId(id); err == nil {
				found[i].Name = "group " + g.Name
			}
		}
	}
	return found, nil
}

func fix(w Writer) string { return posixFix(w) }
