package backendtest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func testXattr(e *env) {
	for _, n := range []share.Node{e.file(e.root, "f", ""), e.mkdir(e.root, "d")} {
		if names, err := n.Listxattr(); err != nil || len(names) != 0 {
			e.Errorf("a new file has %v, %v", names, err)
		}
		if e.lacks(UserXattr) {
			e.fails("set", n.Setxattr("user.a", nil, 0), posix.EOPNOTSUPP)
			continue
		}
		values := map[string][]byte{
			"user.a": []byte("value"), "user.empty": {}, "user.bin": {0, 1, 255}, "user.A": []byte("other case"),
			"user.big": bytes.Repeat([]byte("x"), 1000), "user.\xff": []byte("not UTF-8"), "user.a.b.c": []byte("dots"),
		}
		var names []string
		for name, value := range values {
			e.must(n.Setxattr(name, value, 0))
			names = append(names, name)
		}
		for name, value := range values {
			if got, err := n.Getxattr(name); err != nil || !bytes.Equal(got, value) {
				e.Errorf("Getxattr(%q) = %q, %v, want %q", name, got, err, value)
			}
		}
		got, err := n.Listxattr()
		slices.Sort(got)
		slices.Sort(names)
		if err != nil || !slices.Equal(got, names) {
			e.Errorf("Listxattr = %q, %v, want %q", got, err, names)
		}
		e.must(n.Setxattr("user.a", []byte("changed"), posix.XATTR_REPLACE))
		if got, err := n.Getxattr("user.a"); err != nil || string(got) != "changed" {
			e.Errorf("replaced: %q, %v", got, err)
		}
		for _, name := range names {
			e.must(n.Removexattr(name))
		}
		if names, err := n.Listxattr(); err != nil || len(names) != 0 {
			e.Errorf("left: %v, %v", names, err)
		}
	}
}

func testXattrErrors(e *env) {
	n := e.file(e.root, "f", "")
	_, err := n.Getxattr("system.posix_acl_access")
	e.fails("get of the system's", err, posix.EOPNOTSUPP, posix.ENODATA)
	e.fails("set of the system's", n.Setxattr("system.posix_acl_access", []byte("x"), 0), posix.EOPNOTSUPP)
	_, err = n.Getxattr("nokind")
	e.fails("get without a kind", err, posix.EOPNOTSUPP)
	_, err = n.Getxattr("os2.x")
	e.fails("get of an unknown kind", err, posix.EOPNOTSUPP)
	for _, name := range e.o.Hidden {
		_, err := n.Getxattr(name)
		e.fails("get of a hidden one", err, posix.ENODATA, posix.EOPNOTSUPP)
		e.fails("set of a hidden one", n.Setxattr(name, []byte("0:0:0777"), 0), posix.EPERM, posix.EOPNOTSUPP, posix.EACCES)
		e.fails("remove of a hidden one", n.Removexattr(name), posix.ENODATA, posix.EPERM, posix.EOPNOTSUPP)
	}
	if e.lacks(UserXattr) {
		return
	}
	_, err = n.Getxattr("user.none")
	e.fails("get of none", err, posix.ENODATA)
	e.fails("remove of none", n.Removexattr("user.none"), posix.ENODATA)
	e.fails("replace of none", n.Setxattr("user.none", []byte("x"), posix.XATTR_REPLACE), posix.ENODATA)
	e.must(n.Setxattr("user.a", []byte("x"), posix.XATTR_CREATE))
	e.fails("create of one", n.Setxattr("user.a", []byte("y"), posix.XATTR_CREATE), posix.EEXIST)
	e.fails("too large", n.Setxattr("user.a", make([]byte, posix.XATTR_SIZE_MAX+1), 0), posix.E2BIG, posix.ENOSPC)
	e.fails("name too long", n.Setxattr("user."+strings.Repeat("x", 255), nil, 0), posix.ERANGE)
	if got, err := n.Getxattr("user.a"); err != nil || string(got) != "x" {
		e.Errorf("after what failed: %q, %v", got, err)
	}
}

func testXattrKinds(e *env) {
	n := e.file(e.root, "f", "")
	for name, f := range map[string]Feature{"trusted.x": TrustedXattr, "security.x": SecurityXattr} {
		err := n.Setxattr(name, []byte("v"), 0)
		if e.lacks(f) {
			e.fails("set "+name, err, posix.EOPNOTSUPP, posix.EPERM)
			continue
		}
		e.must(err)
		if got, err := n.Getxattr(name); err != nil || string(got) != "v" {
			e.Errorf("%s = %q, %v", name, got, err)
		}
		e.must(n.Removexattr(name))
	}
	testCapability(e)
	// Links and special files have no attributes of users.
	link, _, err := e.root.Symlink("l", "f", owner)
	e.must(err)
	fifo, _, err := e.root.Mknod("p", share.New{Mode: posix.S_IFIFO | 0o600, Owner: owner})
	e.must(err)
	dev, _, err := e.root.Mknod("c", share.New{Mode: posix.S_IFCHR | 0o600, Rdev: posix.Makedev(1, 3), Owner: owner})
	e.must(err)
	for _, special := range []share.Node{link, fifo, dev} {
		e.keep(special)
		e.fails("set of a special file", special.Setxattr("user.x", []byte("v"), 0), posix.EPERM, posix.EOPNOTSUPP)
		_, err := special.Getxattr("user.x")
		e.fails("get of a special file", err, posix.ENODATA, posix.EPERM, posix.EOPNOTSUPP)
		if names, err := special.Listxattr(); err != nil || len(names) != 0 {
			e.Errorf("a special file has %v, %v", names, err)
		}
		if e.lacks(SpecialXattr) || e.lacks(TrustedXattr) {
			continue
		}
		e.must(special.Setxattr("trusted.y", []byte("v"), 0))
		if got, err := special.Getxattr("trusted.y"); err != nil || string(got) != "v" {
			e.Errorf("trusted attribute of a special file: %q, %v", got, err)
		}
	}
}

// testCapability: a write takes file capabilities away, whoever writes.
func testCapability(e *env) {
	const name = "security.capability"
	if e.lacks(SecurityXattr) {
		return
	}
	value := []byte{0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // version 2, CAP_NET_BIND_SERVICE
	for _, kill := range []bool{false, true} {
		n := e.file(e.root, "capable", "")
		e.must(n.Setxattr(name, value, 0))
		if got, err := n.Getxattr(name); err != nil || !bytes.Equal(got, value) {
			e.Errorf("capabilities are %x, %v", got, err)
		}
		e.killWrite(n, kill)
		_, err := n.Getxattr(name)
		e.fails("get of capabilities after a write", err, posix.ENODATA)
		e.must(e.root.Unlink("capable"))
	}
}
