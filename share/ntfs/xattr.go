package ntfs

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// eaXattrs is the one extended attribute of NTFS that holds a guest's: NTFS would
// upper-case their names.
const eaXattrs = "LXCRI.XATTR"

const capability = "security.capability"

var errXattrs = errors.New("malformed list of extended attributes")

type xattr struct {
	name  string
	value []byte
}

// encodeXattrs writes a list: a version byte, then of each the name's length in a byte,
// the value's in two, the name and the value.
func encodeXattrs(list []xattr) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	b := []byte{1}
	for _, x := range list {
		if len(x.name) == 0 || len(x.name) > posix.XATTR_NAME_MAX {
			return nil, posix.ERANGE
		}
		if len(x.value) >= posix.XATTR_SIZE_MAX {
			return nil, posix.ENOSPC
		}
		b = append(b, byte(len(x.name)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(x.value)))
		b = append(append(b, x.name...), x.value...)
	}
	if len(b) > ntapi.MaxEAs {
		return nil, posix.ENOSPC
	}
	return b, nil
}

// decodeXattrs reads such a list; names must differ.
func decodeXattrs(b []byte) ([]xattr, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != 1 {
		return nil, errXattrs
	}
	var list []xattr
	seen := map[string]bool{}
	for b = b[1:]; len(b) > 0; {
		if len(b) < 3 {
			return nil, errXattrs
		}
		name, value := int(b[0]), int(binary.LittleEndian.Uint16(b[1:]))
		if name == 0 || len(b) < 3+name+value {
			return nil, errXattrs
		}
		x := xattr{string(b[3 : 3+name]), b[3+name : 3+name+value]}
		if seen[x.name] {
			return nil, errXattrs
		}
		seen[x.name] = true
		list = append(list, x)
		b = b[3+name+value:]
	}
	return list, nil
}

// checkXattr refuses what is not kept: other name spaces, and names of the server's own.
func checkXattr(name string) error {
	space, rest, _ := strings.Cut(name, ".")
	switch {
	case len(name) > posix.XATTR_NAME_MAX:
		return posix.ERANGE
	case space != "user" && space != "trusted" && space != "security" || rest == "":
		return posix.EOPNOTSUPP
	}
	return nil
}

func reservedXattr(name string) bool {
	return strings.HasPrefix(name, "user.containers.") || strings.HasPrefix(name, "user.$LX") || strings.HasPrefix(name, "user.LXCRI.")
}

func readXattrs(h ntapi.Handle) ([]xattr, error) {
	eas, err := h.EAs(eaXattrs)
	if err != nil || len(eas) == 0 {
		return nil, err
	}
	return decodeXattrs(eas[0].Value)
}

func writeXattrs(h ntapi.Handle, list []xattr) error {
	b, err := encodeXattrs(list)
	if err != nil {
		return err
	}
	return h.SetEAs([]ntapi.EA{{Name: eaXattrs, Value: b}})
}

// Getxattr implements share.Node.
func (n *node) Getxattr(name string) ([]byte, error) {
	if err := checkXattr(name); err != nil {
		return nil, n.wrap("getxattr", err)
	}
	if reservedXattr(name) {
		return nil, n.wrap("getxattr", posix.ENODATA)
	}
	var value []byte
	err := n.with(ntapi.AccessReadEA, func(h ntapi.Handle) error {
		list, err := readXattrs(h)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(x xattr) bool { return x.name == name })
		if i < 0 {
			return posix.ENODATA
		}
		value = list[i].value
		return nil
	})
	return value, n.wrap("getxattr", err)
}

// Listxattr implements share.Node.
func (n *node) Listxattr() ([]string, error) {
	var names []string
	err := n.with(ntapi.AccessReadEA, func(h ntapi.Handle) error {
		list, err := readXattrs(h)
		for _, x := range list {
			names = append(names, x.name)
		}
		return err
	})
	return names, n.wrap("listxattr", err)
}

// Setxattr implements share.Node.
func (n *node) Setxattr(name string, value []byte, flags uint32) error {
	return n.wrap("setxattr", n.changeXattr(name, func(list []xattr, i int) ([]xattr, error) {
		switch {
		case i >= 0 && flags&posix.XATTR_CREATE != 0:
			return nil, posix.EEXIST
		case i < 0 && flags&posix.XATTR_REPLACE != 0:
			return nil, posix.ENODATA
		case i < 0:
			return append(list, xattr{name, value}), nil
		}
		list[i].value = value
		return list, nil
	}))
}

// Removexattr implements share.Node.
func (n *node) Removexattr(name string) error {
	return n.wrap("removexattr", n.changeXattr(name, func(list []xattr, i int) ([]xattr, error) {
		if i < 0 {
			return nil, posix.ENODATA
		}
		return slices.Delete(list, i, i+1), nil
	}))
}

// changeXattr rewrites the list; i is the place of name in it or -1.
func (n *node) changeXattr(name string, change func(list []xattr, i int) ([]xattr, error)) error {
	if err := checkXattr(name); err != nil {
		return err
	}
	if reservedXattr(name) {
		return posix.EPERM
	}
	n.f.meta.Lock()
	defer n.f.meta.Unlock()
	if name == capability {
		n.f.uncapable.Store(false)
	}
	return n.with(ntapi.AccessReadEA|ntapi.AccessWriteEA, func(h ntapi.Handle) error {
		if err := n.b.mayHave(h, name); err != nil {
			return err
		}
		list, err := readXattrs(h)
		if err != nil {
			return err
		}
		list, err = change(list, slices.IndexFunc(list, func(x xattr) bool { return x.name == name }))
		if err != nil {
			return err
		}
		return writeXattrs(h, list)
	})
}

// mayHave refuses attributes of users on what is neither file nor folder, as Linux does.
func (b *Backend) mayHave(h ntapi.Handle, name string) error {
	if !strings.HasPrefix(name, "user.") {
		return nil
	}
	st, err := h.Stat()
	if err != nil {
		return err
	}
	kind, err := typeOf(st.Attributes, st.ReparseTag)
	if err == nil && kind != posix.S_IFREG && kind != posix.S_IFDIR {
		err = posix.EPERM
	}
	return err
}

// dropCapability removes the file's capabilities, as a change of its owner or content
// must.
func dropCapability(h ntapi.Handle) error {
	list, err := readXattrs(h)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(list), func(x xattr) bool { return x.name == capability })
	if len(left) == len(list) {
		return nil
	}
	return writeXattrs(h, left)
}
