package hostfs

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A watcher gathers changes of the folders that are watched.
type watcher struct{ events chan share.Event }

func newWatcher(*FS) *watcher { return &watcher{events: make(chan share.Event)} }

func (w *watcher) close() { close(w.events) }

// Watch begins to tell of changes in a folder.
func (fs *FS) Watch(share.Node) error { return posix.ENOSPC }

// Unwatch ends it.
func (fs *FS) Unwatch(share.Node) {}

// Events gives changes in order.
func (fs *FS) Events() <-chan share.Event { return fs.watch.events }
