package ntfs

import (
	"encoding/binary"
	"errors"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// subdirsMost is how many entries a directory may have for its folders to be counted; a
// larger one has the link count 1, which says "not known".
const subdirsMost = 4096

// typeOf returns a file's type as a mode's upper bits: EIO for what stands for another
// name in a way that only the host knows.
func typeOf(attributes, tag uint32) (uint32, error) {
	if attributes&ntapi.AttributeReparsePoint == 0 {
		tag = 0
	}
	switch tag {
	case ntapi.TagLxSymlink, ntapi.TagSymlink, ntapi.TagMountPoint:
		return posix.S_IFLNK, nil
	case ntapi.TagUnix:
		return posix.S_IFSOCK, nil
	case ntapi.TagLxFIFO:
		return posix.S_IFIFO, nil
	case ntapi.TagLxChar:
		return posix.S_IFCHR, nil
	case ntapi.TagLxBlock:
		return posix.S_IFBLK, nil
	}
	if attributes&ntapi.AttributeDirectory != 0 {
		if tag&ntapi.TagNameSurrogate != 0 {
			return 0, posix.EIO
		}
		return posix.S_IFDIR, nil
	}
	if tag&ntapi.TagNameSurrogate != 0 {
		return 0, posix.EIO
	}
	return posix.S_IFREG, nil
}

// mode returns type and permissions.
func (b *Backend) mode(st ntapi.StatLx) (uint32, error) {
	kind, err := typeOf(st.Attributes, st.ReparseTag)
	switch {
	case err != nil:
		return 0, err
	case kind == posix.S_IFLNK:
		return kind | 0o777, nil
	case st.LxFlags&ntapi.LxHasMode != 0:
		return kind | st.Mode&posix.ModeMask, nil
	case kind == posix.S_IFDIR:
		return kind | b.opt.DirMode&posix.ModeMask, nil
	}
	return kind | b.opt.FileMode&posix.ModeMask, nil
}

// owner returns who a file belongs to.
func (b *Backend) owner(st ntapi.StatLx) share.Owner {
	o := share.Owner{UID: b.opt.UID, GID: b.opt.GID}
	if st.LxFlags&ntapi.LxHasUID != 0 {
		o.UID = st.UID
	}
	if st.LxFlags&ntapi.LxHasGID != 0 {
		o.GID = st.GID
	}
	return o
}

// stat asks for attributes after times that writes owe were set.
func (b *Backend) stat(i *inode, h ntapi.Handle) (ntapi.StatLx, error) {
	st, err := h.Stat()
	if err != nil {
		return st, err
	}
	if i.publish(st) {
		return h.Stat()
	}
	return st, nil
}

// attr returns a file's attributes by an open handle.
func (b *Backend) attr(i *inode, h ntapi.Handle) (share.Attr, error) {
	st, err := b.stat(i, h)
	if err != nil {
		return share.Attr{}, err
	}
	mode, err := b.mode(st)
	if err != nil {
		return share.Attr{}, err
	}
	owner := b.owner(st)
	a := share.Attr{
		ID: b.fileID(st.ID), Ino: inodeNumber(st.ID), Mode: mode, Nlink: st.Links, UID: owner.UID, GID: owner.GID,
		Size: uint64(st.EndOfFile), Blocks: uint64(st.Allocation+511) / 512, BlockSize: 4096,
		Atime: unix(st.Access), Mtime: unix(st.Write), Ctime: unix(st.Change), Change: uint64(st.Change),
	}
	switch mode & posix.S_IFMT {
	case posix.S_IFDIR:
		a.Size, a.Nlink = 4096, b.subdirs(i, h, st)
	case posix.S_IFLNK:
		target, err := b.target(h)
		if err != nil {
			return share.Attr{}, err
		}
		a.Size = uint64(len(target))
	case posix.S_IFCHR, posix.S_IFBLK:
		if st.LxFlags&ntapi.LxHasDev != 0 {
			a.Rdev = posix.Makedev(st.Major, st.Minor)
		}
	}
	if i.gone.Load() {
		a.Nlink = 0
	}
	return a, nil
}

// subdirs returns a directory's link count: 2 and its folders. It is counted anew when
// the directory's times say that entries changed.
func (b *Backend) subdirs(i *inode, h ntapi.Handle, st ntapi.StatLx) uint32 {
	at := [2]ntapi.Time{st.Change, st.Write}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.subdirsSeen && i.subdirsAt == at {
		return i.subdirs
	}
	links := uint32(1)
	if entries, err := b.entries(h, i); err == nil && len(entries) <= subdirsMost {
		links = 2
		for _, e := range entries {
			if kind, err := typeOf(e.Attributes, e.ReparseTag); err == nil && kind == posix.S_IFDIR && e.Name != "." && e.Name != ".." {
				links++
			}
		}
	}
	i.subdirs, i.subdirsAt, i.subdirsSeen = links, at, true
	return links
}

// entries lists a directory by a handle that may not be for listing.
func (b *Backend) entries(h ntapi.Handle, i *inode) ([]ntapi.DirEntry, error) {
	r := b.request(ntapi.AccessReadData)
	r.Options |= ntapi.OptionDirectory
	d, err := b.open(h, r)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(d)
	return list(d, subdirsMost)
}

func inodeNumber(id ntapi.FileID) uint64 {
	return id.Low ^ id.High*0x9E3779B97F4A7C15
}

func unix(t ntapi.Time) share.Time {
	sec, nsec := t.Unix()
	return share.Time{Sec: sec, Nsec: nsec}
}

func word(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// newEAs are the attributes that a new file is made with.
func newEAs(n share.New) []ntapi.EA {
	eas := []ntapi.EA{
		{Name: ntapi.EAUID, Value: word(n.Owner.UID)},
		{Name: ntapi.EAGID, Value: word(n.Owner.GID)},
		{Name: ntapi.EAMode, Value: word(n.Mode)},
	}
	if kind := n.Mode & posix.S_IFMT; kind == posix.S_IFCHR || kind == posix.S_IFBLK {
		dev := append(word(posix.Major(n.Rdev)), word(posix.Minor(n.Rdev))...)
		eas = append(eas, ntapi.EA{Name: ntapi.EADev, Value: dev})
	}
	return eas
}

// killed returns a mode less what a change of owner or content takes.
func killed(mode uint32) uint32 {
	mode &^= posix.S_ISUID
	if mode&posix.S_IXGRP != 0 {
		mode &^= posix.S_ISGID
	}
	return mode
}

// kill clears set-user-id, set-group-id and capabilities. The caller has i.meta.
func (b *Backend) kill(h ntapi.Handle) error {
	st, err := h.Stat()
	if err != nil {
		return err
	}
	mode, err := b.mode(st)
	if err != nil {
		return err
	}
	if now := killed(mode); now != mode {
		if err := h.SetEAs([]ntapi.EA{{Name: ntapi.EAMode, Value: word(now)}}); err != nil {
			return err
		}
	}
	return dropCapability(h)
}

// SetAttr implements share.Node.
func (n *node) SetAttr(s share.SetAttr) (share.Attr, error) {
	var a share.Attr
	n.f.meta.Lock()
	defer n.f.meta.Unlock()
	access := uint32(ntapi.AccessReadEA | ntapi.AccessWriteEA | ntapi.AccessWriteAttributes)
	if s.Fields&share.SetSize != 0 {
		access |= ntapi.AccessWriteData
	}
	n.b.tree.RLock()
	defer n.b.tree.RUnlock()
	if s.Fields&share.SetSize != 0 {
		// A folder or a link is not to be opened for writing, to be told what it is.
		if err := n.withTree(0, n.b.mayTruncate); err != nil {
			return a, n.wrap("setattr", err)
		}
	}
	err := n.withTree(access, func(h ntapi.Handle) error {
		if err := n.b.setAttr(n.f, h, s); err != nil {
			return err
		}
		var err error
		a, err = n.b.attr(n.f, h)
		return err
	})
	return a, n.wrap("setattr", err)
}

func (b *Backend) mayTruncate(h ntapi.Handle) error {
	st, err := h.Stat()
	if err != nil {
		return err
	}
	switch mode, err := b.mode(st); {
	case err != nil:
		return err
	case mode&posix.S_IFMT == posix.S_IFDIR:
		return posix.EISDIR
	case mode&posix.S_IFMT != posix.S_IFREG:
		return posix.EINVAL
	}
	return nil
}

// setAttr changes attributes: owner, mode, size, times.
func (b *Backend) setAttr(i *inode, h ntapi.Handle, s share.SetAttr) error {
	st, err := b.stat(i, h)
	if err != nil {
		return err
	}
	old, err := b.mode(st)
	if err != nil {
		return err
	}
	kind, mode := old&posix.S_IFMT, old
	chown := s.Fields&(share.SetUID|share.SetGID) != 0
	strips := kind != posix.S_IFDIR && kind != posix.S_IFLNK && (chown || s.Fields&share.KillSUIDGID != 0)
	var eas []ntapi.EA
	if s.Fields&share.SetUID != 0 {
		eas = append(eas, ntapi.EA{Name: ntapi.EAUID, Value: word(s.UID)})
	}
	if s.Fields&share.SetGID != 0 {
		eas = append(eas, ntapi.EA{Name: ntapi.EAGID, Value: word(s.GID)})
	}
	if strips {
		mode = killed(mode)
	}
	if s.Fields&share.SetMode != 0 {
		if kind == posix.S_IFLNK {
			return posix.EOPNOTSUPP
		}
		mode = kind | s.Mode&posix.ModeMask
	}
	if mode != old || s.Fields&share.SetMode != 0 {
		eas = append(eas, ntapi.EA{Name: ntapi.EAMode, Value: word(mode)})
	}
	if len(eas) > 0 {
		if err := h.SetEAs(eas); err != nil {
			return err
		}
		if err := h.SetBasic(ntapi.Basic{Change: ntapi.Now()}); err != nil {
			return err
		}
	}
	if strips || s.Fields&share.SetSize != 0 {
		if err := dropCapability(h); err != nil {
			return err
		}
	}
	if s.Fields&share.SetSize != 0 {
		if err := b.truncate(i, h, st, s.Size); err != nil {
			return err
		}
	}
	return b.setTimes(i, h, s)
}

// truncate sets the size; what grows by much becomes sparse first.
func (b *Backend) truncate(i *inode, h ntapi.Handle, st ntapi.StatLx, size uint64) error {
	if size > 1<<63-1 {
		return posix.EFBIG
	}
	if err := makeSparse(h, st, int64(size)); err != nil {
		return err
	}
	if err := h.SetEndOfFile(int64(size)); err != nil {
		return err
	}
	return b.setTimes(i, h, share.SetAttr{Fields: share.SetMtimeNow})
}

// sparseStep is how far past its end a file may grow and still be filled with zeros.
const sparseStep = 1 << 20

func makeSparse(h ntapi.Handle, st ntapi.StatLx, end int64) error {
	if st.Attributes&ntapi.AttributeSparse != 0 || end <= st.EndOfFile+sparseStep {
		return nil
	}
	return h.SetSparse()
}

// setTimes sets times, on all handles that would set others when they close.
func (b *Backend) setTimes(i *inode, h ntapi.Handle, s share.SetAttr) error {
	now := ntapi.Now()
	basic := ntapi.Basic{Change: now}
	switch {
	case s.Fields&share.SetAtimeNow != 0:
		basic.Access = now
	case s.Fields&share.SetAtime != 0:
		basic.Access = ntapi.TimeOf(s.Atime.Sec, s.Atime.Nsec)
	}
	switch {
	case s.Fields&share.SetMtimeNow != 0:
		basic.Write = now
	case s.Fields&share.SetMtime != 0:
		basic.Write = ntapi.TimeOf(s.Mtime.Sec, s.Mtime.Nsec)
	}
	if basic.Access == 0 && basic.Write == 0 {
		return nil
	}
	if err := h.SetBasic(basic); err != nil {
		return err
	}
	if basic.Write == 0 {
		return nil
	}
	var errs []error
	i.mu.Lock()
	defer i.mu.Unlock()
	for f := range i.files {
		errs = append(errs, f.setWriteTime(basic.Write, now))
	}
	return errors.Join(errs...)
}
