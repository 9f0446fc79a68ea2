package share

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/share/fuse"
)

// The guest's kernel keeps what it has looked up until its own memory is short, which may
// be past what the server keeps for it. Past a mark below the limit it is asked to forget
// what nothing uses. It is not told names to drop (NOTIFY_INVAL_ENTRY): that would detach
// what the guest has mounted on one of them, and one that has only expired is kept.
const (
	trimAgain = time.Second // after one that did not help enough
	trimRest  = time.Minute // at most, when none does
)

// crowdedAt is how many nodes are near a limit.
func crowdedAt(limit int) int { return limit - limit/4 }

// trimStep is how many nodes more or less are worth something.
func (t *nodeTable) trimStep() int { return max(t.limit/16, 1) }

// trim has the kernel forget what nothing uses whenever the table is crowded, until ctx
// ends. No request waits for it: one that needs a node past the limit is ENFILE, which
// only a guest gets that uses so many files at once, or does not forget.
func (s *Session) trim(ctx context.Context) {
	t := &s.nodes
	var last time.Time // of the last trim; zero before it
	before := 0        // nodes then
	pause := trimAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.crowded:
		}
		n, least := t.size()
		if n < t.mark {
			continue
		}
		if !last.IsZero() {
			if n < least+t.trimStep() && time.Since(last) < pause {
				continue
			}
			pause = min(2*pause, trimRest)
			if before-least >= t.trimStep() { // else what there is, is in use
				pause = trimAgain
			}
		}
		if s.tid.Load() == 0 || !s.opened.Load() {
			continue
		}
		root := t.get(fuse.RootID)
		if root == nil {
			return // drained
		}
		before = n
		t.ebb()
		s.log.Info("the guest is asked to forget files", "nodes", n)
		done := s.injectOne(ctx, &armed{kind: fuse.InjectShrink, dir: root, typ: root.typ})
		t.unref(root)
		if !done && ctx.Err() == nil {
			s.log.Warn("the guest does not forget files", "nodes", n)
		}
		last = time.Now()
	}
}
