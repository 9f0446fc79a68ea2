package card

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// env is what a verb runs in.
type env struct {
	*script
	Proc
	who string
}

// command is one verb.
type command struct {
	args int // at least
	run  func(e *env, a []string) (string, error)
}

// commands are all verbs.
var commands = merge(nameCommands, attrCommands, fileCommands, lockCommands, notifyCommands)

func merge(all ...map[string]command) map[string]command {
	out := map[string]command{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// mode is an octal mode; num any number.
func mode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, broken("mode %q", s)
	}
	return uint32(n), nil
}

func num(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, broken("number %q", s)
	}
	return n, nil
}

func nums(words ...string) ([]int64, error) {
	out := make([]int64, len(words))
	for i, w := range words {
		n, err := num(w)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// id is a user or group; "-" leaves it as it is.
func id(s string) (uint32, error) {
	if s == "-" {
		return ^uint32(0), nil
	}
	n, err := num(s)
	return uint32(n), err
}

// words joins flags' names with their numbers.
func words(s string, table map[string]uint32) (uint32, error) {
	var out uint32
	for _, w := range strings.Split(s, ",") {
		v, ok := table[w]
		if !ok {
			n, err := num(w)
			if err != nil {
				return 0, broken("no flag %q", w)
			}
			v = uint32(n)
		}
		out |= v
	}
	return out, nil
}

var openFlags = map[string]uint32{
	"r": posix.O_RDONLY, "w": posix.O_WRONLY, "rw": posix.O_RDWR, "creat": posix.O_CREAT, "excl": posix.O_EXCL,
	"trunc": posix.O_TRUNC, "append": posix.O_APPEND, "nonblock": posix.O_NONBLOCK, "dsync": posix.O_DSYNC, "sync": posix.O_SYNC,
	"direct": posix.O_DIRECT, "dir": posix.O_DIRECTORY, "nofollow": posix.O_NOFOLLOW, "noatime": posix.O_NOATIME,
	"path": posix.O_PATH, "tmpfile": posix.O_TMPFILE, "noctty": posix.O_NOCTTY,
}

var renameFlags = map[string]uint32{
	"0": 0, "noreplace": posix.RENAME_NOREPLACE, "exchange": posix.RENAME_EXCHANGE, "whiteout": posix.RENAME_WHITEOUT,
}

// byPath is a verb of a path and a mode.
func byPath(call func(e *env, path string, mode uint32) error) command {
	return command{2, func(e *env, a []string) (string, error) {
		m, err := mode(a[1])
		if err != nil {
			return "", err
		}
		return "", call(e, a[0], m)
	}}
}

func mknod(kind, dev uint32) command {
	return byPath(func(e *env, path string, m uint32) error { return e.Mknod(path, kind|m, dev) })
}

// makers make a file of each kind, for make and its like.
var makers = map[string]func(e *env, path string) error{
	"file": func(e *env, path string) error {
		f, err := e.Open(path, posix.O_CREAT|posix.O_EXCL|posix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	},
	"folder":  func(e *env, path string) error { return e.Mkdir(path, 0o755) },
	"fifo":    func(e *env, path string) error { return e.Mknod(path, posix.S_IFIFO|0o644, 0) },
	"socket":  func(e *env, path string) error { return e.Mknod(path, posix.S_IFSOCK|0o644, 0) },
	"char":    func(e *env, path string) error { return e.Mknod(path, posix.S_IFCHR|0o644, posix.Makedev(1, 3)) },
	"block":   func(e *env, path string) error { return e.Mknod(path, posix.S_IFBLK|0o644, posix.Makedev(7, 99)) },
	"symlink": func(e *env, path string) error { return e.Symlink("nowhere", path) },
}

var nameCommands = map[string]command{
	// make KIND PATH: a file of that kind, 0644 or 0755.
	"make": {2, func(e *env, a []string) (string, error) {
		m := makers[a[0]]
		if m == nil {
			return "", broken("no kind %q", a[0])
		}
		return "", m(e, a[1])
	}},
	// remove KIND PATH: unlink, or rmdir of a folder.
	"remove": {2, func(e *env, a []string) (string, error) {
		if a[0] == "folder" {
			return "", e.Rmdir(a[1])
		}
		return "", e.Unlink(a[1])
	}},
	"mkdir":  byPath(func(e *env, path string, m uint32) error { return e.Mkdir(path, m) }),
	"mkfifo": mknod(posix.S_IFIFO, 0),
	"mksock": mknod(posix.S_IFSOCK, 0),
	"mkreg":  mknod(posix.S_IFREG, 0),
	"mkchr":  mknodDev(posix.S_IFCHR),
	"mkblk":  mknodDev(posix.S_IFBLK),
	// create PATH MODE: open with O_CREAT|O_EXCL, and close.
	"create": byPath(func(e *env, path string, m uint32) error {
		f, err := e.Open(path, posix.O_CREAT|posix.O_EXCL|posix.O_WRONLY, m)
		if err != nil {
			return err
		}
		return f.Close()
	}),
	// file PATH TEXT: a file with that content.
	"file": {2, func(e *env, a []string) (string, error) {
		f, err := e.Open(a[0], posix.O_CREAT|posix.O_TRUNC|posix.O_WRONLY|posix.O_NONBLOCK, 0o644)
		if err != nil {
			return "", err
		}
		_, err = f.Write([]byte(a[1]))
		return "", errors.Join(err, f.Close())
	}},
	// fill PATH N: n files in a folder.
	"fill": {2, func(e *env, a []string) (string, error) {
		n, err := num(a[1])
		for i := 0; err == nil && i < int(n); i++ {
			err = makers["file"](e, a[0]+"/f"+strconv.Itoa(i))
		}
		return "", err
	}},
	"symlink": {2, func(e *env, a []string) (string, error) { return "", e.Symlink(a[0], a[1]) }},
	"link":    {2, func(e *env, a []string) (string, error) { return "", e.Link(a[0], a[1]) }},
	"unlink":  {1, func(e *env, a []string) (string, error) { return "", e.Unlink(a[0]) }},
	"rmdir":   {1, func(e *env, a []string) (string, error) { return "", e.Rmdir(a[0]) }},
	"rename": {2, func(e *env, a []string) (string, error) {
		var flags uint32
		var err error
		if len(a) > 2 {
			flags, err = words(a[2], renameFlags)
		}
		if err != nil {
			return "", err
		}
		return "", e.Rename(a[0], a[1], flags)
	}},
	"readlink": {1, func(e *env, a []string) (string, error) { return e.Readlink(a[0]) }},
	// cat PATH: the content. ls PATH: the names, sorted, without "." and "..".
	"cat": {1, func(e *env, a []string) (string, error) {
		f, err := e.Open(a[0], posix.O_RDONLY|posix.O_NONBLOCK, 0)
		if err != nil {
			return "", err
		}
		b, err := readAll(f)
		return string(b), errors.Join(err, f.Close())
	}},
	"ls": {1, func(e *env, a []string) (string, error) {
		f, err := e.Open(a[0], posix.O_RDONLY|posix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		names, err := list(f)
		return strings.Join(names, " "), errors.Join(err, f.Close())
	}},
	// count PATH: how many entries, "." and ".." too.
	"count": {1, func(e *env, a []string) (string, error) {
		f, err := e.Open(a[0], posix.O_RDONLY|posix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		all, err := entries(f)
		return strconv.Itoa(len(all)), errors.Join(err, f.Close())
	}},
}

func mknodDev(kind uint32) command {
	return command{4, func(e *env, a []string) (string, error) {
		m, err := mode(a[1])
		if err != nil {
			return "", err
		}
		n, err := nums(a[2], a[3])
		if err != nil {
			return "", err
		}
		return "", e.Mknod(a[0], kind|m, posix.Makedev(uint32(n[0]), uint32(n[1])))
	}}
}

func readAll(f File) ([]byte, error) {
	var out []byte
	for {
		b, err := f.Read(64 << 10)
		if err != nil || len(b) == 0 {
			return out, err
		}
		out = append(out, b...)
	}
}

// entries reads a folder to its end.
func entries(f File) ([]share.DirEntry, error) {
	var out []share.DirEntry
	for {
		some, err := f.Readdir()
		if err != nil || len(some) == 0 {
			return out, err
		}
		out = append(out, some...)
	}
}

func list(f File) ([]string, error) {
	all, err := entries(f)
	var names []string
	for _, e := range all {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names, err
}
