package hostfs

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

// The attribute that keeps what the host's own attributes cannot, in the format that
// container tools share: uid:gid:mode[:type], mode in octal, type one of file, dir,
// symlink, pipe, socket, char-MAJOR-MINOR, block-MAJOR-MINOR.
const (
	overrideName = "user.containers.override_stat"
	// overrideTrusted is for file systems that have no attributes of users, as tmpfs
	// before Linux 6.6.
	overrideTrusted = "trusted.containers.override_stat"
	// overrideMax is more than any value of the format needs.
	overrideMax = 128
)

// An override is what the attribute says.
type override struct {
	uid, gid     uint32
	mode         uint32 // permissions
	typ          uint32 // S_IF…; 0 when it says nothing of it
	major, minor uint32 // of devices
}

var overrideTypes = map[string]uint32{
	"file": posix.S_IFREG, "dir": posix.S_IFDIR, "symlink": posix.S_IFLNK, "pipe": posix.S_IFIFO, "socket": posix.S_IFSOCK,
}

func (o override) isDevice() bool { return o.typ == posix.S_IFCHR || o.typ == posix.S_IFBLK }

func (o override) String() string {
	typ := ""
	switch o.typ {
	case 0:
		return fmt.Sprintf("%d:%d:%04o", o.uid, o.gid, o.mode)
	case posix.S_IFCHR:
		typ = fmt.Sprintf("char-%d-%d", o.major, o.minor)
	case posix.S_IFBLK:
		typ = fmt.Sprintf("block-%d-%d", o.major, o.minor)
	default:
		for name, t := range overrideTypes {
			if t == o.typ {
				typ = name
			}
		}
	}
	return fmt.Sprintf("%d:%d:%04o:%s", o.uid, o.gid, o.mode, typ)
}

// parseOverride reads a value, which anyone on the host may have written.
func parseOverride(b []byte) (override, bool) {
	f := bytes.Split(b, []byte{':'})
	if len(f) != 3 && len(f) != 4 {
		return override{}, false
	}
	var o override
	ok := number(f[0], 10, 32, &o.uid) && number(f[1], 10, 32, &o.gid) && number(f[2], 8, 32, &o.mode)
	// The rest of the mode, which some tools write, is what the type says.
	o.mode &= posix.ModeMask
	if !ok || len(f) == 3 {
		return o, ok
	}
	if t, known := overrideTypes[string(f[3])]; known {
		o.typ = t
		return o, true
	}
	d := bytes.Split(f[3], []byte{'-'})
	if len(d) != 3 {
		return override{}, false
	}
	switch string(d[0]) {
	case "char":
		o.typ = posix.S_IFCHR
	case "block":
		o.typ = posix.S_IFBLK
	default:
		return override{}, false
	}
	// As many bits as the FUSE protocol carries.
	if !number(d[1], 10, 12, &o.major) || !number(d[2], 10, 20, &o.minor) {
		return override{}, false
	}
	return o, true
}

func number(b []byte, base, bits int, to *uint32) bool {
	if len(b) == 0 || b[0] == '+' {
		return false
	}
	v, err := strconv.ParseUint(string(b), base, bits)
	*to = uint32(v)
	return err == nil
}

// getOverride reads the attribute of an open file: ENODATA when there is none, or none
// that can be read; EOPNOTSUPP when the file system has no attributes.
func getOverride(fd int) (override, error) {
	var buf [overrideMax]byte
	path := procPath(fd)
	var err error
	for _, name := range []string{overrideName, overrideTrusted} {
		var n int
		n, err = unix.Getxattr(path, name, buf[:])
		switch err {
		case nil:
			if o, ok := parseOverride(buf[:n]); ok {
				return o, nil
			}
			return override{}, posix.ENODATA
		case unix.ERANGE:
			return override{}, posix.ENODATA
		case unix.EOPNOTSUPP:
			continue
		}
		return override{}, toErrno(err)
	}
	return override{}, toErrno(err)
}

// setOverride writes the attribute of an open file.
func setOverride(fd int, o override) error {
	path, value := procPath(fd), []byte(o.String())
	err := unix.Setxattr(path, overrideName, value, 0)
	if err == unix.EOPNOTSUPP {
		if err = unix.Setxattr(path, overrideTrusted, value, 0); err == unix.EPERM {
			err = unix.EOPNOTSUPP
		}
	}
	return toErrno(err)
}

// kept returns the override that counts for an open file, and whether there is one. In
// native ownership that is of devices only, which are empty regular files.
func (fs *FS) kept(fd int, st *unix.Statx_t) (override, bool) {
	real := uint32(st.Mode) & posix.S_IFMT
	switch {
	case fs.mapped && (real == posix.S_IFREG || real == posix.S_IFDIR):
	case real == posix.S_IFREG && st.Size == 0:
	default:
		return override{}, false
	}
	o, err := getOverride(fd)
	if err != nil || !fs.mapped && !o.isDevice() {
		return override{}, false
	}
	if real == posix.S_IFDIR || o.typ == 0 || o.typ == posix.S_IFDIR {
		o.typ = real
	}
	return o, true
}
