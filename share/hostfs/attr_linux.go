package hostfs

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

func timeOf(t unix.StatxTimestamp) share.Time { return share.Time{Sec: t.Sec, Nsec: t.Nsec} }

func (n *node) attrOf(st *unix.Statx_t, o override, kept bool) share.Attr {
	a := share.Attr{
		ID:        n.key.id,
		Ino:       n.fs.ino(st),
		Mode:      uint32(st.Mode)&posix.ModeMask | n.typ,
		Nlink:     st.Nlink,
		UID:       st.Uid,
		GID:       st.Gid,
		Rdev:      posix.Makedev(st.Rdev_major, st.Rdev_minor),
		Size:      st.Size,
		Blocks:    st.Blocks,
		BlockSize: st.Blksize,
		Atime:     timeOf(st.Atime),
		Mtime:     timeOf(st.Mtime),
		Ctime:     timeOf(st.Ctime),
	}
	if n.typ != n.real {
		a.Rdev = n.rdev
	}
	if kept && n.fs.mapped {
		a.Mode = o.mode | n.typ
		a.UID, a.GID = o.uid, o.gid
	}
	// Times alone may stand still for a tick of the kernel's clock.
	a.Change = uint64(st.Ctime.Sec)*1e9 + uint64(st.Ctime.Nsec)
	a.Change = mix(a.Change) ^ mix(uint64(st.Mtime.Sec)*1e9+uint64(st.Mtime.Nsec)+1) ^ mix(st.Size+2)
	return a
}

// ino returns the number to show for a file.
func (fs *FS) ino(st *unix.Statx_t) uint64 {
	return fs.inos.ino(unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino)
}

// Attr returns the attributes.
func (n *node) Attr() (a share.Attr, err error) {
	err = n.with(func(fd int) (err error) {
		a, err = n.attr(fd)
		return err
	})
	return a, err
}

func (n *node) attr(fd int) (share.Attr, error) {
	st, err := statFD(fd)
	if err != nil {
		return share.Attr{}, err
	}
	var o override
	kept := false
	if n.fs.mapped {
		o, kept = n.fs.kept(fd, &st)
	}
	return n.attrOf(&st, o, kept), nil
}

// StatFS returns the figures of the file system.
func (n *node) StatFS() (s share.StatFS, err error) {
	err = n.with(func(fd int) error {
		var st unix.Statfs_t
		if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
			return err
		}
		s = share.StatFS{
			Blocks: st.Blocks, Free: st.Bfree, Available: st.Bavail,
			Files: st.Files, FreeFiles: st.Ffree,
			BlockSize: uint32(st.Bsize), FragmentSize: uint32(st.Frsize),
			NameLen: uint32(st.Namelen),
		}
		return nil
	})
	return s, err
}

// SetAttr changes attributes: owner, mode, size, times.
func (n *node) SetAttr(s share.SetAttr) (a share.Attr, err error) {
	err = n.change(func(fd int) error {
		if err := n.checkSet(s); err != nil {
			return err
		}
		if n.fs.mapped && (n.real == posix.S_IFREG || n.real == posix.S_IFDIR) {
			err = n.setMapped(fd, s)
		} else {
			err = n.setNative(fd, s)
		}
		if err == nil && s.Fields&share.SetSize != 0 {
			err = n.truncate(fd, s.Size)
		}
		if err == nil {
			err = setTimes(fd, s)
		}
		if err == nil {
			a, err = n.attr(fd)
		}
		return err
	})
	return a, err
}

func (n *node) checkSet(s share.SetAttr) error {
	if s.Fields&share.SetMode != 0 && n.typ == posix.S_IFLNK {
		return posix.EOPNOTSUPP
	}
	if s.Fields&share.SetSize == 0 {
		return nil
	}
	switch {
	case n.typ == posix.S_IFDIR:
		return posix.EISDIR
	case n.typ != posix.S_IFREG:
		return posix.EINVAL
	case s.Size > math.MaxInt64:
		return posix.EFBIG
	}
	return nil
}

// setNative changes owner and mode of the host's file. The kernel clears what it must
// when the owner changes; it does not when one with root's rights truncates.
func (n *node) setNative(fd int, s share.SetAttr) error {
	if s.Fields&(share.SetUID|share.SetGID) != 0 {
		uid, gid := -1, -1
		if s.Fields&share.SetUID != 0 {
			uid = int(s.UID)
		}
		if s.Fields&share.SetGID != 0 {
			gid = int(s.GID)
		}
		if err := again(func() error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) }); err != nil {
			return err
		}
	}
	if s.Fields&share.SetMode != 0 {
		if err := n.fs.proc.chmod(fd, s.Mode&posix.ModeMask); err != nil {
			return err
		}
	}
	if s.Fields&share.KillSUIDGID != 0 {
		return n.fs.killNative(fd)
	}
	return nil
}

// killNative clears what makes a program run with other rights than its caller's.
func (fs *FS) killNative(fd int) error {
	st, err := statFD(fd)
	if err != nil {
		return err
	}
	if uint32(st.Mode)&posix.S_IFMT != posix.S_IFREG {
		return nil
	}
	if mode := uint32(st.Mode) & posix.ModeMask; killed(mode) != mode {
		if err := fs.proc.chmod(fd, killed(mode)); err != nil {
			return err
		}
	}
	switch err := unix.Removexattr(procPath(fd), capabilityName); err {
	case nil, unix.ENODATA, unix.EOPNOTSUPP:
		return nil
	default:
		return toErrno(err)
	}
}

// killed is a mode without set-user-id, and without set-group-id when the group may
// execute: without that it is something else, mandatory locking.
func killed(mode uint32) uint32 {
	mode &^= posix.S_ISUID
	if mode&posix.S_IXGRP != 0 {
		mode &^= posix.S_ISGID
	}
	return mode
}

// setMapped changes owner and mode where they are kept.
func (n *node) setMapped(fd int, s share.SetAttr) error {
	if s.Fields&(share.SetUID|share.SetGID|share.SetMode|share.KillSUIDGID) == 0 {
		return nil
	}
	n.fs.owners.Lock()
	defer n.fs.owners.Unlock()
	a, err := n.attr(fd)
	if err != nil {
		return err
	}
	o := override{uid: a.UID, gid: a.GID, mode: a.Mode & posix.ModeMask, typ: n.typ,
		major: posix.Major(n.rdev), minor: posix.Minor(n.rdev)}
	was := o
	if s.Fields&share.SetUID != 0 {
		o.uid = s.UID
	}
	if s.Fields&share.SetGID != 0 {
		o.gid = s.GID
	}
	if s.Fields&(share.SetUID|share.SetGID|share.KillSUIDGID) != 0 && n.typ != posix.S_IFDIR {
		o.mode = killed(o.mode)
	}
	if s.Fields&share.SetMode != 0 {
		o.mode = s.Mode & posix.ModeMask
	}
	if s.Fields&share.KillSUIDGID != 0 && n.typ != posix.S_IFDIR {
		o.mode = killed(o.mode)
		if o == was {
			return nil
		}
	}
	return setOverride(fd, o)
}

// truncate sets a regular file's size.
func (n *node) truncate(fd int, size uint64) error {
	w, err := n.fs.proc.reopen(fd, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer closeFD(w)
	return again(func() error { return unix.Ftruncate(w, int64(size)) })
}

func setTimes(fd int, s share.SetAttr) error {
	const any = share.SetAtime | share.SetMtime | share.SetAtimeNow | share.SetMtimeNow
	if s.Fields&any == 0 {
		return nil
	}
	pick := func(now, set share.SetFields, t share.Time) unix.Timespec {
		switch {
		case s.Fields&now != 0:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case s.Fields&set != 0:
			return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	ts := []unix.Timespec{
		pick(share.SetAtimeNow, share.SetAtime, s.Atime),
		pick(share.SetMtimeNow, share.SetMtime, s.Mtime),
	}
	return again(func() error { return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH) })
}
