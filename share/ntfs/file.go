package ntfs

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// file is a share.File: the only thing of a guest's that has a handle open, and the
// rename of a directory above closes and reopens that.
type file struct {
	b     *Backend // immutable
	i     *inode   // immutable; a reference is held
	flags uint32   // immutable

	// h is taken away with Backend.tree held to write; nil when it could not be reopened
	// yet.
	h     atomic.Pointer[ntapi.Handle]
	using sync.WaitGroup // of h by nodes, when the file has no name left
	again sync.Mutex     // held to reopen

	wrote  atomic.Int64 // time of a write that NTFS has not told of; 0: none
	held   atomic.Bool  // writes do not move the time until the handle is told
	end    atomic.Int64 // the file is at least this long
	closed atomic.Bool
}

var _ share.File = (*file)(nil)

func (b *Backend) newFile(h ntapi.Handle, st ntapi.StatLx, flags uint32) *file {
	f := &file{b: b, i: b.acquire(st.ID), flags: flags}
	f.h.Store(&h)
	f.end.Store(st.EndOfFile)
	f.i.uncapable.Store(false) // another server may have given it some
	f.i.mu.Lock()
	f.i.files[f] = struct{}{}
	f.i.mu.Unlock()
	b.mu.Lock()
	b.files[f] = struct{}{}
	b.mu.Unlock()
	return f
}

func openOptions(flags uint32) uint32 {
	if flags&(posix.O_DSYNC|posix.O_SYNC) != 0 {
		return ntapi.OptionWriteThrough
	}
	return 0
}

// raceTries is how often a name is tried for when others make and remove it meanwhile.
const raceTries = 16

// Create implements share.Node.
func (n *node) Create(name string, flags uint32, how share.New) (share.Node, share.File, share.Attr, error) {
	for try := 1; ; try++ {
		child, f, a, err := n.create(name, flags, how)
		if !errors.Is(err, ntapi.StatusObjectNameCollision) || flags&posix.O_EXCL != 0 {
			return child, f, a, err
		}
		child, f, a, there := n.openThere(name, flags)
		if there == nil || !errors.Is(there, posix.ENOENT) {
			return child, f, a, there
		}
		// Removed since; or there in another case only, which stays in the way.
		if try == raceTries {
			return nil, nil, a, err
		}
	}
}

// create makes a file that is not there.
func (n *node) create(name string, flags uint32, how share.New) (share.Node, share.File, share.Attr, error) {
	var child *node
	var f *file
	var a share.Attr
	how.Mode = how.Mode&posix.ModeMask | posix.S_IFREG
	r := ntapi.OpenRequest{Access: accessData, Options: ntapi.OptionNonDirectory | openOptions(flags)}
	err := n.make(name, how, r, func(h ntapi.Handle, st ntapi.StatLx) error {
		var err error
		if child, a, err = n.b.node(st.ID, h); err == nil {
			f = n.b.newFile(h, st, flags)
		}
		return err
	})
	if err != nil {
		return nil, nil, a, n.wrap("create in", err)
	}
	return child, f, a, nil
}

// openThere opens a file that Create found.
func (n *node) openThere(name string, flags uint32) (share.Node, share.File, share.Attr, error) {
	child, a, err := n.Lookup(name)
	if err != nil {
		return nil, nil, a, err
	}
	f, err := child.Open(flags)
	if err == nil {
		a, err = child.Attr()
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		child.Release()
		return nil, nil, a, err
	}
	return child, f, a, nil
}

// Open implements share.Node.
func (n *node) Open(flags uint32) (share.File, error) {
	n.b.tree.RLock()
	defer n.b.tree.RUnlock()
	if err := n.withTree(0, n.mayOpen); err != nil {
		return nil, n.wrap("open", err)
	}
	h, err := n.b.openData(n.f, flags)
	if err != nil {
		return nil, n.wrap("open", err)
	}
	st, err := h.Stat()
	if err != nil {
		return nil, n.wrap("open", errors.Join(err, h.Close()))
	}
	f := n.b.newFile(h, st, flags)
	if flags&posix.O_TRUNC != 0 && flags&posix.O_ACCMODE != posix.O_RDONLY {
		err := f.disarm(h, false)
		if err == nil {
			err = h.SetEndOfFile(0)
		}
		if err != nil {
			return nil, n.wrap("open", errors.Join(err, f.close()))
		}
		f.end.Store(0)
		f.wrote.Store(int64(ntapi.Now()))
	}
	return f, nil
}

func (n *node) mayOpen(h ntapi.Handle) error {
	st, err := h.Stat()
	if err != nil {
		return err
	}
	switch kind, err := typeOf(st.Attributes, st.ReparseTag); {
	case err != nil:
		return err
	case kind == posix.S_IFDIR:
		return posix.EISDIR
	case kind != posix.S_IFREG:
		return posix.ENXIO
	}
	return nil
}

// openData opens content, for reading and writing where that is possible: a guest may
// write through one handle what it reads through another's cache.
func (b *Backend) openData(i *inode, flags uint32) (ntapi.Handle, error) {
	open := func(access uint32) (ntapi.Handle, error) {
		i.pin.RLock()
		defer i.pin.RUnlock()
		if i.orphan != nil {
			r := b.request(access)
			r.Options |= openOptions(flags)
			return b.open(i.orphan, r)
		}
		h, err := b.openID(i.id, access, openOptions(flags)|ntapi.OptionNonDirectory)
		if err != nil {
			return nil, err
		}
		st, err := h.Stat()
		if err == nil && st.ReparseTag == 0 {
			return h, nil
		}
		closeQuietly(h)
		if err != nil {
			return nil, err
		}
		// A file system filter has the content behind its tag.
		r := b.request(access)
		r.ID, r.Options = i.id, openOptions(flags)|ntapi.OptionByID|ntapi.OptionNonDirectory
		return b.open(b.root, r)
	}
	h, err := open(accessData)
	if flags&posix.O_ACCMODE == posix.O_RDONLY &&
		(errors.Is(err, ntapi.StatusAccessDenied) || errors.Is(err, ntapi.StatusMediaWriteProtected) || errors.Is(err, posix.EBUSY)) {
		h, err = open(ntapi.AccessReadData | ntapi.AccessReadEA | ntapi.AccessReadAttributes)
	}
	return h, err
}

// handle returns the file's handle, reopened when a rename could not. The caller has
// b.tree.
func (f *file) handle() (ntapi.Handle, error) {
	if f.closed.Load() {
		return nil, posix.EBADF
	}
	f.again.Lock()
	defer f.again.Unlock()
	if h := f.h.Load(); h != nil {
		return *h, nil
	}
	h, err := f.b.openData(f.i, f.flags)
	if err != nil {
		return nil, err
	}
	f.h.Store(&h)
	return h, nil
}

func (f *file) do(call func(h ntapi.Handle) error) error {
	f.b.tree.RLock()
	defer f.b.tree.RUnlock()
	h, err := f.handle()
	if err != nil {
		return err
	}
	return call(h)
}

func (f *file) readOnly() bool { return f.flags&posix.O_ACCMODE == posix.O_RDONLY }

// ID implements share.File.
func (f *file) ID() share.FileID { return f.b.fileID(f.i.id) }

// ReadAt implements share.File.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	err := f.do(func(h ntapi.Handle) error {
		for done < len(b) {
			n, err := h.ReadAt(b[done:], off+int64(done))
			done += n
			if err != nil || n == 0 {
				return err
			}
		}
		return nil
	})
	return done, err
}

// WriteAt implements share.File.
func (f *file) WriteAt(b []byte, off int64, kill bool) (int, error) {
	switch {
	case f.readOnly():
		return 0, posix.EBADF
	case off < 0 || off > math.MaxInt64-int64(len(b)):
		return 0, posix.EFBIG
	}
	done := 0
	err := f.do(func(h ntapi.Handle) error {
		if err := f.disarm(h, kill); err != nil {
			return err
		}
		if f.held.Swap(false) {
			if err := h.SetBasic(ntapi.Basic{Write: ntapi.TimeResume}); err != nil {
				return err
			}
		}
		at := off
		if f.flags&posix.O_APPEND != 0 {
			at = ntapi.AppendOffset
		} else if err := f.grow(h, off); err != nil {
			return err
		}
		var err error
		done, err = h.WriteAt(b, at)
		if done > 0 {
			f.wrote.Store(int64(ntapi.Now()))
		}
		return err
	})
	return done, err
}

// disarm clears what a change of content takes: capabilities always, set-user-id and
// set-group-id when the guest says so.
func (f *file) disarm(h ntapi.Handle, kill bool) error {
	if !kill && f.i.uncapable.Load() {
		return nil
	}
	f.i.meta.Lock()
	defer f.i.meta.Unlock()
	drop := dropCapability
	if kill {
		drop = f.b.kill
	}
	err := drop(h)
	f.i.uncapable.Store(err == nil)
	return err
}

// grow makes a file sparse before a write far past its end.
func (f *file) grow(h ntapi.Handle, off int64) error {
	if off <= f.end.Load()+sparseStep {
		f.end.Store(max(f.end.Load(), off))
		return nil
	}
	st, err := h.Stat()
	if err != nil {
		return err
	}
	f.end.Store(st.EndOfFile)
	return makeSparse(h, st, off)
}

// publish has all writes of the inode's handles tell their time, which NTFS does when
// they close. It tells whether there was any.
func (i *inode) publish(st ntapi.StatLx) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := int64(0)
	for f := range i.files {
		last = max(last, f.wrote.Swap(0))
	}
	if last == 0 {
		return false
	}
	for f := range i.files {
		// A handle that cannot be told tells the time itself when it closes.
		_ = f.setWriteTime(ntapi.Time(last), max(st.Change, ntapi.Time(last)))
	}
	return true
}

// setWriteTime sets the time through the handle, which then sets none when it closes.
func (f *file) setWriteTime(write, change ntapi.Time) error {
	h := f.h.Load()
	if h == nil || f.readOnly() {
		return nil
	}
	f.wrote.Store(0)
	f.held.Store(true)
	return (*h).SetBasic(ntapi.Basic{Write: write, Change: change})
}

// Fsync implements share.File.
func (f *file) Fsync(dataOnly bool) error {
	flags := uint32(ntapi.FlushNormal)
	if dataOnly {
		flags = ntapi.FlushDataSyncOnly
	}
	return f.do(func(h ntapi.Handle) error {
		err := h.Flush(flags)
		if errors.Is(err, ntapi.StatusAccessDenied) && f.readOnly() {
			return nil // open for reading only: nothing of this file's is unwritten
		}
		return err
	})
}

// Close implements share.File.
func (f *file) Close() error {
	f.b.tree.RLock()
	defer f.b.tree.RUnlock()
	return f.close()
}

func (f *file) close() error {
	if f.closed.Swap(true) {
		return posix.EBADF
	}
	f.i.mu.Lock()
	delete(f.i.files, f)
	f.i.mu.Unlock()
	f.b.mu.Lock()
	_, open := f.b.files[f]
	delete(f.b.files, f)
	f.b.mu.Unlock()
	f.using.Wait()
	var err error
	if h := f.h.Load(); open && h != nil {
		err = (*h).Close()
	}
	f.b.release(f.i)
	return err
}
