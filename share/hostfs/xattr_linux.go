package hostfs

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

const capabilityName = "security.capability"

// reserved are the beginnings of names that are the server's or the host's own: a guest
// neither sees nor sets them. The labels of the host's security modules say what the
// host's programs may do with a file.
var reserved = []string{
	"user.containers.", "trusted.containers.",
	"security.selinux", "security.apparmor", "security.SMACK64", "security.ima", "security.evm", "security.landlock",
}

func isReserved(name string) bool {
	for _, r := range reserved {
		if strings.HasPrefix(name, r) {
			return true
		}
	}
	return false
}

// checkXattr says with an error what cannot be under a name: as hidden for one that the
// server keeps for itself, EOPNOTSUPP for kinds that no guest has on a share.
func checkXattr(name string, hidden posix.Errno) error {
	kind, rest, ok := strings.Cut(name, ".")
	switch {
	case name == "" || len(name) > posix.XATTR_NAME_MAX:
		return posix.ERANGE
	case strings.IndexByte(name, 0) >= 0:
		return posix.EINVAL
	case !ok || kind != "user" && kind != "trusted" && kind != "security":
		return posix.EOPNOTSUPP
	case rest == "":
		return posix.EINVAL
	case isReserved(name):
		return hidden
	}
	return nil
}

// keptErr corrects the answer for a file that is another type on the host: only regular
// files and folders have attributes of users.
func (n *node) keptErr(name string, err error) error {
	if n.typ == n.real || !strings.HasPrefix(name, "user.") {
		return err
	}
	return posix.EPERM
}

// visibleNames splits a list as listxattr(2) gives it, less what is hidden.
func visibleNames(list []byte) []string {
	var names []string
	for len(list) > 0 {
		name, rest, _ := bytes.Cut(list, []byte{0})
		list = rest
		if s := string(name); s != "" && checkXattr(s, posix.ENODATA) == nil {
			names = append(names, s)
		}
	}
	return names
}

// grow reads something whose size is not known: first with a small buffer, which is
// enough for nearly all, then with the largest.
func grow(read func([]byte) (int, error), most int) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		size, err := read(buf)
		switch {
		case err == nil:
			return buf[:size:size], nil
		case err == unix.EINTR:
			continue
		case err != unix.ERANGE || len(buf) >= most:
			return nil, toErrno(err)
		}
		buf = make([]byte, most)
	}
}
