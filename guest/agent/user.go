//go:build linux

package agent

import (
	"fmt"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
)

// findUser finds out who the process of a container runs as, by the files of its root.
func findUser(dir string, u *api.User) (account.Identity, error) {
	root, err := openRoot(dir)
	if err != nil {
		return account.Identity{}, err
	}
	defer root.close()
	passwd, err := root.open("/etc/passwd")
	if err != nil {
		return account.Identity{}, err
	}
	defer passwd.Close()
	group, err := root.open("/etc/group")
	if err != nil {
		return account.Identity{}, err
	}
	defer group.Close()
	req := account.Request{Spec: u.GetSpec(), Groups: u.GetSupplementalGroups(), Strict: u.GetStrictGroups()}
	if u.GetHasGid() {
		gid := u.GetGid()
		req.GID = &gid
	}
	return account.Resolve(req, passwd, group)
}

// identityOf is whom the host found.
func identityOf(u *api.ResolvedUser) account.Identity {
	return account.Identity{UID: u.GetUid(), GID: u.GetGid(), Groups: u.GetAdditionalGids(), Home: u.GetHome()}
}

// prepareRoot checks that the process may be who it is to be, and makes folders and its working directory.
func prepareRoot(dir string, id account.Identity, folders []string, cwd string, users *podns.Users) error {
	if err := checkMapped(users, id); err != nil {
		return err
	}
	root, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer root.close()
	if users != nil {
		uid, gid := users.Root()
		root.uid, root.gid = int(uid), int(gid)
	}
	for _, folder := range folders {
		if err := root.makeVolume(folder); err != nil {
			return fmt.Errorf("volume of the image: %w", err)
		}
	}
	if err := root.mkdirAll(cwd); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return nil
}
