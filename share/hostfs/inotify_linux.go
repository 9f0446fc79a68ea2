package hostfs

import (
	"encoding/binary"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// inotify watches folders by inotify(7). Who made a change, and which file it was, is
// not told.
type inotify struct {
	w     *watcher
	fd    int
	queue *os.File // of fd

	mu   sync.Mutex // guards what follows
	dirs map[int32]share.FileID
	wds  map[share.FileID]int32

	// Of run alone: what was moved away when it is not known yet whether it comes to
	// another folder that is watched.
	moved  share.Event
	cookie uint32 // 0: nothing
}

const inoMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY |
	unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// moveWait is how long the second half of a rename may take: the kernel queues both at
// once, but a read may have room for the first only.
const moveWait = 20 * time.Millisecond

func newInotify(w *watcher) (*inotify, error) {
	fd, err := againFD(func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK) })
	if err != nil {
		return nil, err
	}
	return &inotify{w: w, fd: fd, queue: queueOf(fd, "inotify"), dirs: map[int32]share.FileID{}, wds: map[share.FileID]int32{}}, nil
}

func (i *inotify) has(n *node) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.wds[n.key.id]
	return ok
}

// add watches a folder. The watcher's mu is held.
func (i *inotify) add(n *node, fd int) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.wds[n.key.id]; ok {
		return nil
	}
	wd, err := againFD(func() (int, error) { return unix.InotifyAddWatch(i.fd, procPath(fd), inoMask) })
	if err != nil {
		return err
	}
	i.dirs[int32(wd)] = n.key.id
	i.wds[n.key.id] = int32(wd)
	return nil
}

// remove ends the watch of a folder and reports whether there was one.
func (i *inotify) remove(n *node) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	wd, ok := i.wds[n.key.id]
	if ok {
		i.forget(wd)
		// When it fails the folder is gone, and its watch with it.
		_, _ = unix.InotifyRmWatch(i.fd, uint32(wd))
	}
	return ok
}

func (i *inotify) forget(wd int32) {
	delete(i.wds, i.dirs[wd])
	delete(i.dirs, wd)
}

// run passes events on until the queue is closed.
func (i *inotify) run() {
	buf := make([]byte, 64<<10)
	for {
		if i.cookie != 0 {
			_ = i.queue.SetReadDeadline(time.Now().Add(moveWait)) // at worst it waits for the next event
		}
		size, err := i.queue.Read(buf)
		if os.IsTimeout(err) {
			_ = i.queue.SetReadDeadline(time.Time{})
			if !i.flush() {
				return
			}
			continue
		}
		if err != nil {
			return
		}
		_ = i.queue.SetReadDeadline(time.Time{})
		list, err := parseInotify(buf[:size])
		for _, r := range list {
			if !i.tell(r) {
				return
			}
		}
		if err != nil && !i.w.send(share.Event{Kind: share.EventOverflow}) {
			return
		}
	}
}

// flush tells of what was moved away to nowhere that is watched.
func (i *inotify) flush() bool {
	if i.cookie == 0 {
		return true
	}
	i.cookie = 0
	return i.w.send(i.moved)
}

// tell sends the event of one record.
func (i *inotify) tell(r inoRecord) bool {
	if r.mask&unix.IN_MOVED_TO != 0 && i.cookie != 0 && r.cookie == i.cookie {
		if dir, ok := i.dir(r.wd); ok {
			e := i.moved
			i.cookie = 0
			e.Kind, e.NewDir, e.NewName = share.EventRename, dir, r.name
			return i.w.send(e)
		}
	}
	if !i.flush() {
		return false
	}
	if r.mask&unix.IN_Q_OVERFLOW != 0 {
		return i.w.send(share.Event{Kind: share.EventOverflow})
	}
	dir, ok := i.dir(r.wd)
	if r.mask&unix.IN_IGNORED != 0 {
		i.mu.Lock()
		i.forget(r.wd)
		i.mu.Unlock()
		return true
	}
	if !ok {
		return true
	}
	e := share.Event{Dir: dir, Name: r.name, IsDir: r.mask&unix.IN_ISDIR != 0}
	if r.name == "" {
		e.ID, e.IsDir = dir, true
	}
	switch {
	case r.mask&unix.IN_MOVED_FROM != 0:
		e.Kind = share.EventRemove
		i.moved, i.cookie = e, r.cookie
		return true
	case r.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		e.Kind = share.EventCreate
	case r.mask&unix.IN_MODIFY != 0:
		e.Kind = share.EventModify
	case r.mask&unix.IN_CLOSE_WRITE != 0:
		e.Kind = share.EventClose
	case r.mask&unix.IN_ATTRIB != 0:
		e.Kind = share.EventAttrib
	case r.mask&(unix.IN_DELETE|unix.IN_DELETE_SELF) != 0:
		e.Kind = share.EventRemove
	default:
		return true
	}
	return i.w.send(e)
}

func (i *inotify) dir(wd int32) (share.FileID, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id, ok := i.dirs[wd]
	return id, ok
}

// An inoRecord is one event as the kernel tells it.
type inoRecord struct {
	wd           int32
	mask, cookie uint32
	name         string
}

// parseInotify reads what read(2) of an inotify descriptor gave, and returns what it
// could read with the error when something is not as inotify(7) says.
func parseInotify(b []byte) ([]inoRecord, error) {
	const header = 16
	var list []inoRecord
	for len(b) > 0 {
		if len(b) < header {
			return list, posix.EIO
		}
		size := binary.NativeEndian.Uint32(b[12:])
		if uint64(size) > uint64(len(b)-header) {
			return list, posix.EIO
		}
		name, _, _ := strings.Cut(string(b[header:header+int(size)]), "\x00")
		list = append(list, inoRecord{
			wd:     int32(binary.NativeEndian.Uint32(b)),
			mask:   binary.NativeEndian.Uint32(b[4:]),
			cookie: binary.NativeEndian.Uint32(b[8:]),
			name:   name,
		})
		b = b[header+int(size):]
	}
	return list, nil
}
