package hostfs

import (
	"encoding/binary"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// fanotify watches folders by fanotify(7). Its events name folders and files by handle.
type fanotify struct {
	w     *watcher
	fd    int
	queue *os.File // of fd
	pid   int32

	mu      sync.Mutex                 // guards what follows
	dirs    map[fanHandle]watchedDir   // by what events call them
	handles map[share.FileID]fanHandle // the other way
}

type watchedDir struct {
	id  share.FileID
	mnt *mount // to open handles by; the watch has a reference
}

const fanMask = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_RENAME | unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE |
	unix.FAN_ATTRIB | unix.FAN_DELETE_SELF | unix.FAN_EVENT_ON_CHILD | unix.FAN_ONDIR

func newFanotify(w *watcher) (*fanotify, error) {
	fd, err := againFD(func() (int, error) {
		return unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_DFID_NAME_TARGET, 0)
	})
	if err != nil {
		return nil, err
	}
	return &fanotify{
		w: w, fd: fd, queue: queueOf(fd, "fanotify"), pid: int32(os.Getpid()),
		dirs: map[fanHandle]watchedDir{}, handles: map[share.FileID]fanHandle{},
	}, nil
}

// add watches a folder, whose descriptor is fd. The watcher's mu is held.
func (f *fanotify) add(n *node, fd int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.handles[n.key.id]; there {
		return nil
	}
	h, err := fanHandleOf(fd)
	if err != nil {
		return err
	}
	if err := f.mark(unix.FAN_MARK_ADD, fd); err != nil {
		return err
	}
	f.w.fs.mu.Lock()
	n.desc.mnt.refs++
	f.w.fs.mu.Unlock()
	f.dirs[h] = watchedDir{n.key.id, n.desc.mnt}
	f.handles[n.key.id] = h
	return nil
}

// remove ends the watch of a folder. The watcher's mu is held.
func (f *fanotify) remove(n *node, fd int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, there := f.handles[n.key.id]
	if !there {
		return
	}
	f.forget(h)
	// When it fails the folder is gone, and its mark with it.
	_ = f.mark(unix.FAN_MARK_REMOVE, fd)
}

// forget drops what is known of a folder. mu is held.
func (f *fanotify) forget(h fanHandle) {
	d, there := f.dirs[h]
	if !there {
		return
	}
	delete(f.handles, d.id)
	delete(f.dirs, h)
	f.w.fs.mu.Lock()
	f.w.fs.dropMount(d.mnt)
	f.w.fs.mu.Unlock()
}

func (f *fanotify) mark(how uint, fd int) error {
	return again(func() error {
		return unix.FanotifyMark(f.fd, how|unix.FAN_MARK_ONLYDIR|unix.FAN_MARK_DONT_FOLLOW, fanMask, fd, ".")
	})
}

// fanHandleOf returns what fanotify calls an open file.
func fanHandleOf(fd int) (fanHandle, error) {
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return "", toErrno(err)
	}
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return "", err
	}
	b := make([]byte, 0, fanHandleHeader+h.Size())
	b = binary.NativeEndian.AppendUint32(b, uint32(st.Fsid.Val[0]))
	b = binary.NativeEndian.AppendUint32(b, uint32(st.Fsid.Val[1]))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Size()))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Type()))
	return fanHandle(append(b, h.Bytes()...)), nil
}

// run passes events on until the queue is closed.
func (f *fanotify) run() {
	buf := make([]byte, 64<<10)
	for {
		size, err := f.queue.Read(buf)
		if err != nil {
			return
		}
		list, err := parseFanotify(buf[:size])
		for _, r := range list {
			if !f.tell(r) {
				return
			}
		}
		if err != nil && !f.w.send(share.Event{Kind: share.EventOverflow}) {
			return
		}
	}
}

// tell sends the events of one record. The kernel joins what one process did to one name
// in one record: their order is then lost, and the usual one is taken.
func (f *fanotify) tell(r fanRecord) bool {
	if r.mask&unix.FAN_Q_OVERFLOW != 0 {
		return f.w.send(share.Event{Kind: share.EventOverflow})
	}
	e := share.Event{Origin: share.OriginForeign, IsDir: r.mask&unix.FAN_ONDIR != 0}
	if r.pid == f.pid {
		e.Origin = share.OriginOwn
	}
	if r.mask&unix.FAN_RENAME != 0 {
		return f.tellRename(e, r)
	}
	dir, watched := f.dir(r.dir)
	self := r.name == "" || r.name == "."
	if !watched {
		// Of a folder itself the kernel may name no parent.
		if dir, watched = f.dir(r.child); !watched {
			return true
		}
		self = true
	}
	e.Dir = dir.id
	if self {
		e.ID = dir.id
	} else {
		e.Name, e.ID = r.name, f.identify(dir, r.child)
	}
	for _, k := range []struct {
		mask uint64
		kind share.EventKind
		both bool // also of the folder itself
	}{
		{unix.FAN_CREATE, share.EventCreate, false},
		{unix.FAN_ATTRIB, share.EventAttrib, true},
		{unix.FAN_MODIFY, share.EventModify, false},
		{unix.FAN_CLOSE_WRITE, share.EventClose, false},
		{unix.FAN_DELETE, share.EventRemove, false},
	} {
		if r.mask&k.mask == 0 || self && !k.both {
			continue
		}
		e.Kind = k.kind
		if !f.w.send(e) {
			return false
		}
	}
	if r.mask&unix.FAN_DELETE_SELF != 0 && self {
		f.mu.Lock()
		f.forget(f.handles[dir.id])
		f.mu.Unlock()
		e.Kind = share.EventRemove
		return f.w.send(e)
	}
	return true
}

// tellRename is for what moved from, to or within folders that are watched.
func (f *fanotify) tellRename(e share.Event, r fanRecord) bool {
	from, left := f.dir(r.dir)
	to, came := f.dir(r.newDir)
	switch {
	case left && came:
		e.Kind, e.ID = share.EventRename, f.identify(to, r.child)
		e.Dir, e.Name, e.NewDir, e.NewName = from.id, r.name, to.id, r.newName
	case left:
		e.Kind, e.Dir, e.Name, e.ID = share.EventRemove, from.id, r.name, f.identify(from, r.child)
	case came:
		e.Kind, e.Dir, e.Name, e.ID = share.EventCreate, to.id, r.newName, f.identify(to, r.child)
	default:
		return true
	}
	return f.w.send(e)
}

func (f *fanotify) dir(h fanHandle) (watchedDir, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.dirs[h]
	return d, ok
}

// identify returns the identity of a file in a folder; zero when it is gone for good or
// handles cannot be opened.
func (f *fanotify) identify(dir watchedDir, h fanHandle) share.FileID {
	f.mu.Lock() // while it is watched the mount stays open
	defer f.mu.Unlock()
	if _, watched := f.handles[dir.id]; !watched || dir.mnt.anchor < 0 || h == "" {
		return share.FileID{}
	}
	fd, err := unix.OpenByHandleAt(dir.mnt.anchor, h.open(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return share.FileID{}
	}
	defer closeFD(fd)
	st, err := statFD(fd)
	if err != nil {
		return share.FileID{}
	}
	return fileID(&st)
}

// A fanHandle is a file as fanotify names it: the file system's id and the file's
// handle, as bytes of the record. Empty: none.
type fanHandle string

const fanHandleHeader = 16 // fsid, size and type of the handle

func (h fanHandle) open() unix.FileHandle {
	typ := binary.NativeEndian.Uint32([]byte(h[12:16]))
	return unix.NewFileHandle(int32(typ), []byte(h[fanHandleHeader:]))
}

// A fanRecord is one event as the kernel tells it.
type fanRecord struct {
	mask        uint64
	pid         int32
	dir, newDir fanHandle // of a rename dir is where from
	name        string
	newName     string
	child       fanHandle
}

// parseFanotify reads what read(2) of a fanotify descriptor gave, and returns what it
// could read with the error when something is not as fanotify(7) says.
func parseFanotify(b []byte) ([]fanRecord, error) {
	const metadata = 24
	var list []fanRecord
	for len(b) > 0 {
		if len(b) < metadata {
			return list, posix.EIO
		}
		size := int(binary.NativeEndian.Uint32(b))
		head := int(binary.NativeEndian.Uint16(b[6:]))
		if b[4] != unix.FANOTIFY_METADATA_VERSION || head < metadata || size < head || size > len(b) {
			return list, posix.EIO
		}
		r := fanRecord{mask: binary.NativeEndian.Uint64(b[8:]), pid: int32(binary.NativeEndian.Uint32(b[20:]))}
		for info := b[head:size]; len(info) > 0; {
			if len(info) < 4 {
				return list, posix.EIO
			}
			n := int(binary.NativeEndian.Uint16(info[2:]))
			if n < 4 || n > len(info) || !r.addInfo(info[0], info[4:n]) {
				return list, posix.EIO
			}
			info = info[n:]
		}
		list = append(list, r)
		b = b[size:]
	}
	return list, nil
}

func (r *fanRecord) addInfo(typ uint8, b []byte) bool {
	switch typ {
	case unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME,
		unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
	default:
		return true // of a kind that was not asked for
	}
	if len(b) < fanHandleHeader {
		return false
	}
	size := binary.NativeEndian.Uint32(b[8:])
	if uint64(size) > uint64(len(b)-fanHandleHeader) {
		return false
	}
	h := fanHandle(b[:fanHandleHeader+int(size)])
	name, _, _ := strings.Cut(string(b[fanHandleHeader+int(size):]), "\x00")
	switch typ {
	case unix.FAN_EVENT_INFO_TYPE_FID:
		r.child = h
	case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		r.newDir, r.newName = h, name
	default:
		r.dir, r.name = h, name
	}
	return true
}
