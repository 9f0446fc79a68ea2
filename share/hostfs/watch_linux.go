package hostfs

import (
	"os"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A watcher gathers changes of the folders that are watched. It asks fanotify(7), which
// tells who made a change; inotify(7) where the kernel, the process's rights or a file
// system do not allow that. Both begin with the first folder that needs them.
//
// Events wait in the kernel's queue (fs.fanotify.max_queued_events and
// fs.inotify.max_queued_events, 16384 by default) and at most eventBuffer here; when the
// kernel drops some it says so, which is EventOverflow.
//
// OriginOwn is what this process did. When it serves a folder several times over, the
// changes that came by the others are own too: their sessions tell each other by
// share.Peers.
type watcher struct {
	fs     *FS
	events chan share.Event
	stop   chan struct{} // closed by close
	done   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	fan    *fanotify
	noFan  bool // the kernel has refused it
	ino    *inotify
}

// eventBuffer lets the kernel's queue be emptied in large reads.
const eventBuffer = 1024

func newWatcher(fs *FS) *watcher {
	return &watcher{fs: fs, events: make(chan share.Event, eventBuffer), stop: make(chan struct{})}
}

// close ends Events once what is being told has ended.
func (w *watcher) close() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	close(w.stop)
	if w.fan != nil {
		_ = w.fan.queue.Close() // only read from
	}
	if w.ino != nil {
		_ = w.ino.queue.Close()
	}
	w.mu.Unlock()
	w.done.Wait()
	close(w.events)
}

// send passes an event on; false when the watcher is closed.
func (w *watcher) send(e share.Event) bool {
	select {
	case w.events <- e:
		return true
	case <-w.stop:
		return false
	}
}

// Watch begins to tell of changes in a folder.
func (fs *FS) Watch(dir share.Node) error {
	n, ok := dir.(*node)
	if !ok || n.fs != fs {
		return posix.EINVAL
	}
	if n.typ != posix.S_IFDIR {
		return posix.ENOTDIR
	}
	return n.with(func(fd int) error { return fs.watch.add(n, fd) })
}

// Unwatch ends it.
func (fs *FS) Unwatch(dir share.Node) {
	n, ok := dir.(*node)
	if !ok || n.fs != fs || n.typ != posix.S_IFDIR {
		return
	}
	fs.watch.mu.Lock()
	defer fs.watch.mu.Unlock()
	if fs.watch.closed {
		return
	}
	if ino := fs.watch.ino; ino != nil && ino.remove(n) {
		return
	}
	if fan := fs.watch.fan; fan != nil {
		// A folder that cannot be opened any more is gone, and its mark with it.
		_ = n.with(func(fd int) error { fan.remove(n, fd); return nil })
	}
}

// Events gives changes in order.
func (fs *FS) Events() <-chan share.Event { return fs.watch.events }

func (w *watcher) add(n *node, fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return posix.EBADF
	}
	if w.fan == nil && !w.noFan {
		fan, err := newFanotify(w)
		if err != nil {
			w.noFan = true
		} else {
			w.fan = fan
			w.done.Go(fan.run)
		}
	}
	if w.fan != nil && (w.ino == nil || !w.ino.has(n)) {
		switch err := w.fan.add(n, fd); posix.FromError(err) {
		case posix.ENODEV, posix.EXDEV, posix.EOPNOTSUPP, posix.EPERM, posix.EINVAL:
			// This file system has no handles, or no identity of its own.
		default:
			return tooMany(err)
		}
	}
	if w.ino == nil {
		ino, err := newInotify(w)
		if err != nil {
			return tooMany(err)
		}
		w.ino = ino
		w.done.Go(ino.run)
	}
	return tooMany(w.ino.add(n, fd))
}

// tooMany is ENOSPC for all that says that the host watches no more.
func tooMany(err error) error {
	switch posix.FromError(err) {
	case posix.ENOSPC, posix.EMFILE, posix.ENFILE, posix.ENOMEM, posix.ENOSYS:
		return posix.ENOSPC
	}
	return err
}

// queueOf makes a descriptor that does not block into a file whose Read waits, and ends
// when it is closed.
func queueOf(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }
