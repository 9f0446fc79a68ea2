package card

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

var kindNames = map[uint32]string{
	posix.S_IFREG: "file", posix.S_IFDIR: "folder", posix.S_IFIFO: "fifo", posix.S_IFSOCK: "socket",
	posix.S_IFCHR: "char", posix.S_IFBLK: "block", posix.S_IFLNK: "symlink",
}

// times are the fields of an Attr that are compared with < and >.
func times(a share.Attr) map[string]share.Time {
	return map[string]share.Time{"atime": a.Atime, "mtime": a.Mtime, "ctime": a.Ctime}
}

func fields(a share.Attr) map[string]string {
	out := map[string]string{
		"type": kindNames[a.Mode&posix.S_IFMT], "mode": fmt.Sprintf("%04o", a.Mode&posix.ModeMask),
		"uid": strconv.Itoa(int(a.UID)), "gid": strconv.Itoa(int(a.GID)), "nlink": strconv.Itoa(int(a.Nlink)),
		"size": strconv.FormatUint(a.Size, 10), "blocks": strconv.FormatUint(a.Blocks, 10), "ino": strconv.FormatUint(a.Ino, 10),
		"rdev": fmt.Sprintf("%d:%d", posix.Major(a.Rdev), posix.Minor(a.Rdev)),
	}
	for name, t := range times(a) {
		out[name] = fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
	}
	return out
}

func before(a, b share.Time) bool {
	return a.Sec < b.Sec || a.Sec == b.Sec && a.Nsec < b.Nsec
}

// compare checks wants like mode=0644, ctime>note, ino=note, ino!note, blocks<9.
func (s *script) compare(got share.Attr, wants []string) (string, error) {
	for _, want := range wants {
		i := strings.IndexAny(want, "=<>!")
		if i < 0 {
			return "", broken("no comparison in %q", want)
		}
		key, op, value := want[:i], want[i], want[i+1:]
		have, ok := fields(got)[key]
		if !ok {
			return "", broken("no attribute %q", key)
		}
		note, isNote := s.notes[value]
		if isNote {
			value = fields(note)[key]
		}
		var good bool
		switch t, isTime := times(got)[key]; {
		case op == '=':
			good = have == value
		case op == '!':
			good = have != value
		case isTime && isNote && op == '>':
			good = before(times(note)[key], t)
		case isTime && isNote:
			good = before(t, times(note)[key])
		default:
			h, err := num(have)
			if err != nil {
				return "", err
			}
			v, err := num(value)
			if err != nil {
				return "", err
			}
			good = op == '<' && h < v || op == '>' && h > v
		}
		if !good {
			return "", broken("has %s %s, want %c %s", key, have, op, value)
		}
	}
	return "", nil
}

// tick is longer than the step of any file system's clock that is checked.
const tick = 12 * time.Millisecond

func statCommand(nofollow bool) command {
	return command{1, func(e *env, a []string) (string, error) {
		got, err := e.Stat(a[0], nofollow)
		if err != nil {
			return "", err
		}
		return e.compare(got, a[1:])
	}}
}

func chownCommand(nofollow bool) command {
	return command{3, func(e *env, a []string) (string, error) {
		uid, err := id(a[1])
		if err != nil {
			return "", err
		}
		gid, err := id(a[2])
		if err != nil {
			return "", err
		}
		return "", e.Chown(a[0], uid, gid, nofollow)
	}}
}

// timespec reads "now", "omit" or seconds[.nanoseconds].
func timespec(s string) (Timespec, error) {
	switch s {
	case "now":
		return Timespec{Now: true}, nil
	case "omit":
		return Timespec{Omit: true}, nil
	}
	sec, frac, _ := strings.Cut(s, ".")
	n, err := num(sec)
	if err != nil {
		return Timespec{}, err
	}
	nsec, err := strconv.ParseUint((frac + "000000000")[:9], 10, 32)
	if err != nil {
		return Timespec{}, broken("time %q", s)
	}
	return Timespec{Time: share.Time{Sec: n, Nsec: uint32(nsec)}}, nil
}

func timespecPair(a, b string) (x, y Timespec, err error) {
	if x, err = timespec(a); err == nil {
		y, err = timespec(b)
	}
	return x, y, err
}

func utimensCommand(nofollow bool) command {
	return command{3, func(e *env, a []string) (string, error) {
		at, mt, err := timespecPair(a[1], a[2])
		if err != nil {
			return "", err
		}
		return "", e.Utimens(a[0], at, mt, nofollow)
	}}
}

var xattrFlags = map[string]uint32{"0": 0, "create": posix.XATTR_CREATE, "replace": posix.XATTR_REPLACE}

var attrCommands = map[string]command{
	// stat PATH [KEY=VALUE ...]: follows a symbolic link; lstat does not.
	"stat":  statCommand(false),
	"lstat": statCommand(true),
	// note NAME PATH: keeps lstat's answer to compare with, and lets the clock move on.
	"note": {2, func(e *env, a []string) (string, error) {
		got, err := e.Stat(a[1], true)
		if err != nil {
			return "", err
		}
		e.notes[a[0]] = got
		time.Sleep(tick)
		return "", nil
	}},
	"chmod":   byPath(func(e *env, path string, m uint32) error { return e.Chmod(path, m) }),
	"chown":   chownCommand(false),
	"lchown":  chownCommand(true),
	"utimens": utimensCommand(false), "lutimens": utimensCommand(true),
	"truncate": {2, func(e *env, a []string) (string, error) {
		n, err := num(a[1])
		if err != nil {
			return "", err
		}
		return "", e.Truncate(a[0], n)
	}},
	// statfs PATH: checks what must hold for any file system.
	"statfs": {1, func(e *env, a []string) (string, error) {
		s, err := e.StatFS(a[0])
		if err != nil {
			return "", err
		}
		if s.NameLen != posix.NAME_MAX || s.BlockSize == 0 || s.Free > s.Blocks || s.Available > s.Blocks || s.Blocks == 0 {
			return "", broken("has figures %+v", s)
		}
		return "", nil
	}},
	"setxattr": {3, func(e *env, a []string) (string, error) {
		var flags uint32
		var err error
		if len(a) > 3 {
			flags, err = words(a[3], xattrFlags)
		}
		if err != nil {
			return "", err
		}
		return "", e.Setxattr(a[0], a[1], []byte(a[2]), flags)
	}},
	// getxattr PATH NAME [SIZE]: with size 0 the length.
	"getxattr": {2, func(e *env, a []string) (string, error) {
		size := int64(posix.XATTR_SIZE_MAX)
		var err error
		if len(a) > 2 {
			size, err = num(a[2])
		}
		if err != nil {
			return "", err
		}
		b, err := e.Getxattr(a[0], a[1], int(size))
		if err == nil && size == 0 {
			return strconv.Itoa(len(b)), nil
		}
		return string(b), err
	}},
	// listxattr PATH [SIZE]: names that are not the host's own, sorted.
	"listxattr": {1, func(e *env, a []string) (string, error) {
		size := int64(posix.XATTR_LIST_MAX)
		var err error
		if len(a) > 1 {
			size, err = num(a[1])
		}
		if err != nil {
			return "", err
		}
		names, err := e.Listxattr(a[0], int(size))
		names = slices.DeleteFunc(names, func(n string) bool { return n == "security.selinux" })
		slices.Sort(names)
		return strings.Join(names, " "), err
	}},
	"removexattr": {2, func(e *env, a []string) (string, error) { return "", e.Removexattr(a[0], a[1]) }},
}
