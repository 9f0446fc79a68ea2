package apps

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/porthole-run/porthole/internal/fusemount"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
	"github.com/porthole-run/porthole/share/lock"
)

// shown is a host folder as a machine's containers see it in lane mount: a session of
// its own and a mount, as each pod has.
type shown struct {
	dir     string // the mount
	mount   *fusemount.Mount
	backend share.Backend
	session *share.Session
	conn    *fusemount.Conn
	served  chan error
	group   *group
}

// group joins the sessions of one host folder, as the arbiter joins those of pods.
type group struct {
	locks *lock.Table

	mu       sync.Mutex
	sessions map[*share.Session]bool // guarded by mu
}

// groups are those of all host folders that were shown.
var groups = struct {
	sync.Mutex
	of map[string]*group // guarded by the mutex
}{of: map[string]*group{}}

func groupOf(folder string) *group {
	groups.Lock()
	defer groups.Unlock()
	g := groups.of[folder]
	if g == nil {
		g = &group{locks: lock.New(lock.Limits{}), sessions: map[*share.Session]bool{}}
		groups.of[folder] = g
	}
	return g
}

// member is one session's view of its group.
type member struct {
	group *group
	self  *share.Session // set before it serves
}

func (m *member) others() []*share.Session {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	var all []*share.Session
	for s := range m.group.sessions {
		if s != m.self {
			all = append(all, s)
		}
	}
	return all
}

func (m *member) Shared() bool { return len(m.others()) > 0 }

func (m *member) Announce(ctx context.Context, changes []share.Change) {
	for _, s := range m.others() {
		s.Invalidate(ctx, changes)
	}
}

// show returns where containers find a host folder.
func (h *host) show(t *testing.T, folder string) string {
	t.Helper()
	if env.lane == "folder" {
		return folder
	}
	if s := h.shown[folder]; s != nil {
		return s.dir
	}
	s, err := mountFolder(t, folder)
	if err != nil {
		t.Fatal(err)
	}
	h.shown[folder] = s
	return s.dir
}

func mountFolder(t *testing.T, folder string) (*shown, error) {
	tools := filepath.Join(env.cache, "apps")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return nil, err
	}
	relay, err := fusemount.BuildRelay(t.Context(), tools)
	if err != nil {
		return nil, err
	}
	backend, err := hostfs.Open(folder, hostfs.Options{})
	if err != nil {
		return nil, err
	}
	s := &shown{dir: filepath.Join(t.TempDir(), "share"), backend: backend, served: make(chan error, 1), group: groupOf(folder)}
	m := &member{group: s.group}
	s.session, err = share.NewSession(share.Config{Backend: backend, Locker: s.group.locks.Session(s.dir), Peers: m,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	m.self = s.session
	var theirs *os.File
	theirs, s.conn, err = fusemount.Pair()
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	s.group.mu.Lock()
	s.group.sessions[s.session] = true
	s.group.mu.Unlock()
	go func() { s.served <- s.session.Serve(context.Background(), s.conn) }()
	if s.mount, err = fusemount.New(t.Context(), fusemount.Config{Relay: relay, Start: fusemount.Start, Stream: theirs, Dir: s.dir}); err != nil {
		return nil, errors.Join(err, s.conn.Close(), <-s.served, backend.Close())
	}
	return s, nil
}

// hide takes away a mount, whose containers have ended.
func (s *shown) hide(t *testing.T) {
	if err := s.mount.Unmount(context.Background()); err != nil {
		t.Errorf("unmount %s: %v", s.dir, err)
	}
	if err := s.conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-s.served; err != nil {
		t.Errorf("the session of %s ended with %v", s.dir, err)
	}
	s.group.mu.Lock()
	delete(s.group.sessions, s.session)
	s.group.mu.Unlock()
	if err := s.backend.Close(); err != nil {
		t.Error(err)
	}
}
