package card

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/share/posix"
)

// fileVerb is a verb whose first argument is an open file.
func fileVerb(args int, run func(e *env, f File, a []string) (string, error)) command {
	return command{args + 1, func(e *env, a []string) (string, error) {
		f, ok := e.files[a[0]]
		if !ok {
			return "", broken("no file %q is open", a[0])
		}
		if f.owner != e.who {
			return "", broken("file %q is %s's", a[0], f.owner)
		}
		return run(e, f.File, a[1:])
	}}
}

// fileNums is a fileVerb whose other arguments are numbers.
func fileNums(args int, run func(f File, n []int64) (string, error)) command {
	return fileVerb(args, func(_ *env, f File, a []string) (string, error) {
		n, err := nums(a...)
		if err != nil {
			return "", err
		}
		return run(f, n)
	})
}

var fallocModes = map[string]uint32{
	"0": 0, "keep": posix.FALLOC_FL_KEEP_SIZE, "punch": posix.FALLOC_FL_PUNCH_HOLE, "zero": posix.FALLOC_FL_ZERO_RANGE,
	"collapse": posix.FALLOC_FL_COLLAPSE_RANGE, "insert": posix.FALLOC_FL_INSERT_RANGE,
}

var whences = map[string]uint32{
	"set": posix.SEEK_SET, "cur": posix.SEEK_CUR, "end": posix.SEEK_END, "data": posix.SEEK_DATA, "hole": posix.SEEK_HOLE,
}

// shown makes zero bytes legible: a run of n of them is "~n".
func shown(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := 0
		for n < len(b) && b[n] == 0 {
			n++
		}
		if n == 0 {
			out.WriteByte(b[0])
			n = 1
		} else {
			fmt.Fprintf(&out, "~%d", n)
		}
		b = b[n:]
	}
	return out.String()
}

// content is what is to be written: TEXT, or TEXT*n for a repetition.
func content(s string) ([]byte, error) {
	text, times, ok := strings.Cut(s, "*")
	if !ok {
		return []byte(s), nil
	}
	n, err := num(times)
	if err != nil {
		return nil, err
	}
	return []byte(strings.Repeat(text, int(n))), nil
}

var fileCommands = map[string]command{
	// open HANDLE PATH FLAGS [MODE]
	"open": {3, func(e *env, a []string) (string, error) {
		flags, err := words(a[2], openFlags)
		if err != nil {
			return "", err
		}
		var m uint32
		if len(a) > 3 {
			if m, err = mode(a[3]); err != nil {
				return "", err
			}
		}
		f, err := e.Open(a[1], flags, m)
		if err != nil {
			return "", err
		}
		e.files[a[0]] = handle{f, e.who}
		return "", nil
	}},
	"close": fileVerb(0, func(_ *env, f File, _ []string) (string, error) { return "", f.Close() }),
	// dup HANDLE NEW
	"dup": fileVerb(1, func(e *env, f File, a []string) (string, error) {
		d, err := f.Dup()
		if err == nil {
			e.files[a[0]] = handle{d, e.who}
		}
		return "", err
	}),
	"read": fileNums(1, func(f File, n []int64) (string, error) {
		b, err := f.Read(int(n[0]))
		return shown(b), err
	}),
	// pread HANDLE OFFSET LENGTH
	"pread": fileNums(2, func(f File, n []int64) (string, error) {
		b, err := f.Pread(int(n[1]), n[0])
		return shown(b), err
	}),
	"write": fileVerb(1, func(_ *env, f File, a []string) (string, error) {
		b, err := content(a[0])
		if err != nil {
			return "", err
		}
		n, err := f.Write(b)
		return strconv.Itoa(n), err
	}),
	// pwrite HANDLE OFFSET TEXT
	"pwrite": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		off, err := num(a[0])
		if err != nil {
			return "", err
		}
		b, err := content(a[1])
		if err != nil {
			return "", err
		}
		n, err := f.Pwrite(b, off)
		return strconv.Itoa(n), err
	}),
	// seek HANDLE OFFSET WHENCE
	"seek": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		off, err := num(a[0])
		if err != nil {
			return "", err
		}
		w, err := words(a[1], whences)
		if err != nil {
			return "", err
		}
		at, err := f.Lseek(off, w)
		return strconv.FormatInt(at, 10), err
	}),
	"fstat": fileVerb(0, func(e *env, f File, a []string) (string, error) {
		got, err := f.Stat()
		if err != nil {
			return "", err
		}
		return e.compare(got, a)
	}),
	"fchmod": fileVerb(1, func(_ *env, f File, a []string) (string, error) {
		m, err := mode(a[0])
		if err != nil {
			return "", err
		}
		return "", f.Chmod(m)
	}),
	"fchown": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		uid, err := id(a[0])
		if err != nil {
			return "", err
		}
		gid, err := id(a[1])
		if err != nil {
			return "", err
		}
		return "", f.Chown(uid, gid)
	}),
	"ftruncate": fileNums(1, func(f File, n []int64) (string, error) { return "", f.Truncate(n[0]) }),
	"futimens": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		at, mt, err := timespecPair(a[0], a[1])
		if err != nil {
			return "", err
		}
		return "", f.Utimens(at, mt)
	}),
	"fsync":     fileVerb(0, func(_ *env, f File, _ []string) (string, error) { return "", f.Sync(false) }),
	"fdatasync": fileVerb(0, func(_ *env, f File, _ []string) (string, error) { return "", f.Sync(true) }),
	// fallocate HANDLE MODE OFFSET LENGTH
	"fallocate": fileVerb(3, func(_ *env, f File, a []string) (string, error) {
		m, err := words(a[0], fallocModes)
		if err != nil {
			return "", err
		}
		n, err := nums(a[1], a[2])
		if err != nil {
			return "", err
		}
		return "", f.Fallocate(m, n[0], n[1])
	}),
	// copyto HANDLE TO OFFSET TOOFFSET LENGTH: prints how much was copied in all.
	"copyto": fileVerb(4, func(e *env, f File, a []string) (string, error) {
		to, ok := e.files[a[0]]
		if !ok {
			return "", broken("no file %q is open", a[0])
		}
		if to.owner != e.who {
			return "", broken("file %q is %s's", a[0], to.owner)
		}
		n, err := nums(a[1:]...)
		if err != nil {
			return "", err
		}
		done := int64(0)
		for done < n[2] {
			k, err := f.CopyTo(to.File, n[0]+done, n[1]+done, int(n[2]-done))
			if err != nil {
				return "", err
			}
			if k == 0 {
				break
			}
			done += int64(k)
		}
		return strconv.FormatInt(done, 10), nil
	}),
	"linkat": fileVerb(1, func(_ *env, f File, a []string) (string, error) { return "", f.Linkat(a[0]) }),
	// readdir HANDLE: the next bufferful; prints whether there was one. rest HANDLE: the
	// remaining names, sorted.
	"readdir": fileVerb(0, func(_ *env, f File, _ []string) (string, error) {
		some, err := f.Readdir()
		if err != nil || len(some) == 0 {
			return "end", err
		}
		return "more", nil
	}),
	"rest": fileVerb(0, func(_ *env, f File, _ []string) (string, error) {
		names, err := list(f)
		return strings.Join(names, " "), err
	}),
	// types HANDLE: name:type of each entry, as the folder lists it.
	"types": fileVerb(0, func(_ *env, f File, _ []string) (string, error) {
		all, err := entries(f)
		got := map[string]uint32{}
		for _, d := range all {
			got[d.Name] = d.Type
		}
		var out []string
		for _, kind := range []string{"file", "folder", "fifo", "socket", "char", "block", "symlink"} {
			if t, ok := got[kind]; ok && kindNames[t<<12] == kind {
				out = append(out, kind)
			}
		}
		return strings.Join(out, " "), err
	}),
	// mmap HANDLE MAP LENGTH, mget MAP OFFSET LENGTH, mput MAP OFFSET TEXT, munmap MAP.
	"mmap": fileVerb(2, func(e *env, f File, a []string) (string, error) {
		n, err := num(a[1])
		if err != nil {
			return "", err
		}
		m, ok := f.(Mapper)
		if !ok {
			return "", posix.ENODEV
		}
		b, unmap, err := m.Mmap(0, int(n))
		if err == nil {
			e.maps[a[0]] = mapping{b, unmap}
		}
		return "", err
	}),
	"mget": {3, func(e *env, a []string) (string, error) {
		n, err := nums(a[1:]...)
		if err != nil {
			return "", err
		}
		return shown(e.maps[a[0]].b[n[0] : n[0]+n[1]]), nil
	}},
	"mput": {3, func(e *env, a []string) (string, error) {
		off, err := num(a[1])
		if err != nil {
			return "", err
		}
		b, err := content(a[2])
		if err != nil {
			return "", err
		}
		copy(e.maps[a[0]].b[off:], b)
		return "", nil
	}},
	// mapput HANDLE OFFSET TEXT and mapget HANDLE OFFSET LENGTH go through a mapping for
	// the moment; "beyond" when that is past the end of the file.
	"mapput": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		b, err := content(a[1])
		if err != nil {
			return "", err
		}
		return mapped(f, a[0], len(b), func(m []byte) string { copy(m, b); return "" })
	}),
	"mapget": fileVerb(2, func(_ *env, f File, a []string) (string, error) {
		n, err := num(a[1])
		if err != nil {
			return "", err
		}
		return mapped(f, a[0], int(n), shown)
	}),
	"munmap": {1, func(e *env, a []string) (string, error) {
		m, ok := e.maps[a[0]]
		if !ok {
			return "", broken("no map %q", a[0])
		}
		delete(e.maps, a[0])
		return "", m.unmap()
	}},
}

// mapped calls use with length bytes at an offset of a file.
func mapped(f File, offset string, length int, use func(b []byte) string) (string, error) {
	off, err := num(offset)
	if err != nil {
		return "", err
	}
	m, ok := f.(Mapper)
	if !ok {
		return "", posix.ENODEV
	}
	a, err := f.Stat()
	if err != nil {
		return "", err
	}
	if kindNames[a.Mode&posix.S_IFMT] != "file" {
		return "", posix.ENODEV
	}
	end := off + int64(length)
	if end > int64(a.Size) {
		return "beyond", nil
	}
	b, unmap, err := m.Mmap(0, int(end))
	if err != nil {
		return "", err
	}
	out := use(b[off:])
	return out, unmap()
}

var lockTypes = map[string]uint32{"r": posix.F_RDLCK, "w": posix.F_WRLCK, "u": posix.F_UNLCK}

func lockCommand(kind LockKind, wait bool) command {
	return fileVerb(3, func(_ *env, f File, a []string) (string, error) {
		typ, start, length, err := lockArgs(a)
		if err != nil {
			return "", err
		}
		return "", f.Lock(kind, typ, start, length, wait)
	})
}

func getlkCommand(kind LockKind) command {
	return fileVerb(3, func(_ *env, f File, a []string) (string, error) {
		typ, start, length, err := lockArgs(a)
		if err != nil {
			return "", err
		}
		got, start, length, err := f.GetLock(kind, typ, start, length)
		if err != nil || got == posix.F_UNLCK {
			return "free", err
		}
		return fmt.Sprintf("%c %d %d", "rw"[got&1], start, length), nil
	})
}

func lockArgs(a []string) (typ uint32, start, length int64, err error) {
	typ, err1 := words(a[0], lockTypes)
	n, err2 := nums(a[1], a[2])
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, 0, broken("%v", err)
	}
	return typ, n[0], n[1], nil
}

func flockCommand(wait bool) command {
	return fileVerb(1, func(_ *env, f File, a []string) (string, error) {
		typ, err := words(a[0], lockTypes)
		if err != nil {
			return "", err
		}
		return "", f.Flock(typ, wait)
	})
}

// lock HANDLE r|w|u START LENGTH and its like; flock HANDLE r|w|u. lockw, olockw and
// flockw wait. getlk prints the lock that is in the way, or "free".
var lockCommands = map[string]command{
	"lock": lockCommand(LockPOSIX, false), "lockw": lockCommand(LockPOSIX, true), "getlk": getlkCommand(LockPOSIX),
	"olock": lockCommand(LockOFD, false), "olockw": lockCommand(LockOFD, true), "ogetlk": getlkCommand(LockOFD),
	"flock": flockCommand(false), "flockw": flockCommand(true),
}
