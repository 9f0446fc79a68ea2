package card

import (
	"strings"
	"time"

	"github.com/porthole-run/porthole/share/posix"
)

// echoTime is how long an event that nobody caused may take to come.
const echoTime = 300 * time.Millisecond

var notifyCommands = map[string]command{
	// watch PATH: inotify events of it from now on, of the process's own queue.
	"watch": {1, func(e *env, a []string) (string, error) {
		n, ok := e.Proc.(Notifier)
		if !ok {
			return "", posix.ENOSYS
		}
		return "", n.Watch(a[0])
	}},
	// events: those that have come, in order, a folder's name with a slash; "none".
	"events": {0, events(0)},
	// later: the same, after a while.
	"later": {0, events(echoTime)},
}

func events(wait time.Duration) func(e *env, _ []string) (string, error) {
	return func(e *env, _ []string) (string, error) {
		n, ok := e.Proc.(Notifier)
		if !ok {
			return "", posix.ENOSYS
		}
		all, err := n.Events(wait)
		if len(all) == 0 {
			return "none", err
		}
		return strings.Join(all, "; "), err
	}
}
