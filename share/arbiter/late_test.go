package arbiter

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// TestLate_Dropped: a guest that had a lock when the arbiter ended went on relying on it until it
// dropped it, by when another may have had it. A drop that the arbiter may have done counts
// as made.
func TestLate_Dropped(t *testing.T) {
	for name, c := range map[string]struct {
		before, late bool // the drop was asked of the old arbiter; the new one has not waited
		lost         bool
	}{
		"while away, too late": {late: true, lost: true},
		"while away, in time":  {},
		"before, too late":     {before: true, late: true},
		"before, in time":      {before: true},
	} {
		t.Run(name, func(t *testing.T) {
			client := &Client{
				cfg: Config{Log: slog.New(slog.DiscardHandler)}, wanted: make(chan struct{}, 1), silent: time.Hour,
				calls: map[uint64]*call{}, members: map[uint32]*Member{}, instance: 1, out: newQueue(),
			}
			m := newMember(client, 1, JoinConfig{
				Chain: []share.FileID{dataDir, rootDir}, Changed: func(context.Context, []share.Change) error { return nil },
			})
			defer client.work.Wait()
			defer m.stop()
			client.members[m.id], m.joined = m, true
			if err := m.keep(&message{kind: kindSet, file: file, lock: exclusive()}, nil); err != nil {
				t.Fatal(err)
			}
			drop := func() {
				if _, err := m.ask(&message{kind: kindDrop, file: file, lock: share.Lock{Kind: share.LockPOSIX}}); err != nil {
					t.Fatal(err)
				}
			}
			if c.before {
				drop()
			}
			client.disconnected()
			if !c.before {
				drop()
			}
			client.begin(nil, newQueue(), &message{kind: kindWelcome, version: version, instance: 2, flag: c.late})
			defer client.disconnected()
			client.mu.Lock()
			defer client.mu.Unlock()
			if lost := posix.FromError(m.err) == posix.EIO; lost != c.lost || (m.err == nil) == c.lost {
				t.Errorf("lost: %v, want %v", m.err, c.lost)
			}
		})
	}
}
