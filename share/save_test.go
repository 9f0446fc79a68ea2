package share_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// saved saves a guest's session.
func saved(t *testing.T, g *guest) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b, unchanged, err := g.s.Save(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !unchanged() {
		t.Error("something has happened since it was saved")
	}
	return b
}

// resume serves another folder to a copy of the guest that was saved, and waits until it has
// forgotten what it had cached.
func resume(t *testing.T, c share.Config, table []byte) *guest {
	t.Helper()
	if c.Locker == nil {
		c.Private = true
	}
	s, err := share.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	g := serveSession(t, s)
	select {
	case <-s.Renewed():
	case <-time.After(10 * time.Second):
		t.Fatal("the guest does not forget")
	}
	return g
}

// TestSave_Restore: what a guest has open goes on in another folder with the same names.
func TestSave_Restore(t *testing.T) {
	old := memfs.New(memfs.Options{})
	hostWrite(t, old, "config", "old config")
	hostWrite(t, old, "gone", "old gone")
	g := mount(t, share.Config{Backend: old})
	dir := g.mkdir(fuse.RootID, "d")
	log, open := g.create(dir.NodeID, "log")
	if err := g.pwrite(log.NodeID, open.FH, "old log", 0); err != nil {
		t.Fatal(err)
	}
	config, err := g.lookup(fuse.RootID, "config")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := g.lookup(fuse.RootID, "gone")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := g.open(gone.NodeID, posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := g.lookup(fuse.RootID, "later"); err != nil || e.NodeID != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	unlinked, hidden := g.create(fuse.RootID, "unlinked")
	if _, err := g.do(fuse.OpUnlink, fuse.RootID, nil, names("unlinked")); err != nil {
		t.Fatal(err)
	}
	table := saved(t, g)
	g.unmount()
	empty(t, old)

	now := memfs.New(memfs.Options{})
	hostWrite(t, now, "config", "new config")
	n, _, err := now.Host().Mkdir("d", share.New{Mode: posix.S_IFDIR | 0o755})
	if err != nil {
		t.Fatal(err)
	}
	made, f, _, err := n.Create("log", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("NEW LOG OF IT"), 0, false); err != nil {
		t.Fatal(err)
	}
	f.Close()
	made.Release()
	hostWrite(t, now, "later", "there now")
	r := resume(t, share.Config{Backend: now}, table)
	notes := r.seen()
	for _, want := range []string{"d", "config", "gone", "later", "log"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the guest was not told to forget %s: %s", want, notes)
		}
	}
	if err := r.pwrite(log.NodeID, open.FH, "guest", 4); err != nil {
		t.Error(err)
	}
	if s, err := r.pread(log.NodeID, open.FH, 100, 0); s != "NEW guest IT" && s != "NEW guestF IT" || err != nil {
		t.Errorf("open file in the new folder: %q, %v", s, err)
	}
	c, err := r.open(config.NodeID, posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if c.FH <= hidden.FH {
		t.Errorf("open file number %d was used before", c.FH)
	}
	if s, err := r.pread(config.NodeID, c.FH, 100, 0); s != "new config" || err != nil {
		t.Errorf("file that the guest knew: %q, %v", s, err)
	}
	for what, err := range map[string]error{
		"read what is not there": errorOf(r.pread(gone.NodeID, opened.FH, 10, 0)),
		"read what was unlinked": errorOf(r.pread(unlinked.NodeID, hidden.FH, 10, 0)),
		"open what is not there": errorOf(r.open(gone.NodeID, posix.O_RDONLY)),
		"attributes":             errorOf(r.do(fuse.OpGetattr, gone.NodeID, fuse.GetattrIn{})),
	} {
		if posix.FromError(err) != posix.ESTALE {
			t.Errorf("%s: %v, want ESTALE", what, err)
		}
	}
	if e, err := r.lookup(fuse.RootID, "gone"); err != nil || e.NodeID != 0 {
		t.Errorf("lookup of what is not there: %+v, %v", e, err)
	}
	hostWrite(t, now, "gone", "it is back")
	if e, err := r.lookup(fuse.RootID, "gone"); err != nil || e.NodeID == gone.NodeID || e.NodeID <= unlinked.NodeID {
		t.Errorf("lookup of a new file: %+v, %v; its number must be new", e, err)
	}
	r.forget(gone.NodeID, 1)
	for node, fh := range map[uint64]uint64{log.NodeID: open.FH, gone.NodeID: opened.FH, unlinked.NodeID: hidden.FH, config.NodeID: c.FH} {
		r.release(node, fh)
	}
	// And again, of what was restored.
	table = saved(t, r)
	r.unmount()
	n.Release()
	again := resume(t, share.Config{Backend: now}, table)
	if e, err := again.lookup(fuse.RootID, "config"); err != nil || e.NodeID != config.NodeID {
		t.Errorf("lookup in a session that was restored twice: %+v, %v", e, err)
	}
	again.unmount()
	empty(t, now)
}

func errorOf[T any](_ T, err error) error { return err }

// TestSave_OneFile: a share of one file has no names.
func TestSave_OneFile(t *testing.T) {
	old, now := memfs.New(memfs.Options{}), memfs.New(memfs.Options{})
	hostWrite(t, old, "f", "old")
	hostWrite(t, now, "other", "new")
	g := mount(t, share.Config{Backend: share.OneFile(old, "f")})
	o, err := g.open(fuse.RootID, posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	table := saved(t, g)
	g.unmount()
	r := resume(t, share.Config{Backend: share.OneFile(now, "other")}, table)
	if s, err := r.pread(fuse.RootID, o.FH, 10, 0); s != "new" || err != nil {
		t.Errorf("read %q, %v", s, err)
	}
	r.unmount()
}

func TestSave_Refused(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	locks := lock.New(lock.Limits{})
	g := mount(t, share.Config{Backend: fs, Locker: locks.Session("a")})
	e, o := g.create(fuse.RootID, "f")
	l := fuse.LkIn{FH: o.FH, Owner: 1, End: 1<<63 - 1, Type: posix.F_WRLCK, PID: 5}
	if _, err := g.do(fuse.OpSetlk, e.NodeID, l); err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.s.Save(t.Context()); !errors.Is(err, share.ErrLocked) {
		t.Errorf("Save() with a lock = %v", err)
	}
	g.release(e.NodeID, o.FH)

	// While a notification is not answered the guest does not stand still.
	g.mu.Lock()
	g.hold = true
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.s.Invalidate(t.Context(), []share.Change{{}})
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for asked := false; !asked; <-tick.C {
		g.mu.Lock()
		asked = g.held != 0
		g.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := g.s.Save(ctx); !errors.Is(err, share.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Save() of a guest that is asked something = %v", err)
	}
	g.mu.Lock()
	held := g.held
	g.hold, g.held = false, 0
	g.mu.Unlock()
	g.ack(held)
	<-done

	table, unchanged, err := g.s.Save(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.lookup(fuse.RootID, "f"); err != nil {
		t.Fatal(err)
	}
	if unchanged() {
		t.Error("a request that came since is not noticed")
	}
	g.unmount()

	var good map[string]any
	if err := json.Unmarshal(table, &good); err != nil {
		t.Fatal(err)
	}
	with := func(key string, v any) []byte {
		m := map[string]any{}
		for k, v := range good {
			m[k] = v
		}
		m[key] = v
		b, _ := json.Marshal(m)
		return b
	}
	node := func(id, parent int, name string) []any {
		return []any{map[string]any{"id": id, "parent": parent, "name": []byte(name), "type": posix.S_IFREG, "lookups": 1}}
	}
	for name, b := range map[string][]byte{
		"no_table": []byte("{"), "format": with("version", 2), "private": with("private", true), "single": with("single", true),
		"next": with("nextNode", 0), "root_again": with("nodes", node(1, 1, "f")), "number": with("nodes", node(1<<40, 1, "f")),
		"handle": with("handles", []any{map[string]any{"id": 1, "node": 77}}),
	} {
		s, err := share.NewSession(share.Config{Backend: fs, Locker: locks.Session("b-" + name)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(t.Context(), b); !errors.Is(err, share.ErrTable) {
			t.Errorf("%s: Restore() = %v, want ErrTable", name, err)
		}
	}
	// A name that leads elsewhere is not looked up.
	s, err := share.NewSession(share.Config{Backend: fs, Locker: locks.Session("c")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(t.Context(), with("nodes", node(2, 1, "../f"))); err != nil {
		t.Errorf("Restore() = %v", err)
	}
}

// FuzzRestore: whatever a table holds, it is refused or served, and what it opened is closed.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"version":1,"trusted":true,"private":true,"noSecurity":true,"nextNode":9,"nextHandle":4,` +
		`"nodes":[{"id":2,"parent":1,"name":"ZA==","type":16384,"lookups":1},{"id":3,"parent":2,"name":"Zg==","type":32768,"lookups":2}],` +
		`"missing":[{"dir":2,"name":"bm8="}],"handles":[{"id":1,"node":3,"flags":2},{"id":2,"node":2,"dir":true}]}`))
	f.Add([]byte(`{"version":1,"private":true,"nextNode":3,"nextHandle":2,"nodes":[{"id":2,"parent":2,"name":"Zg=="}]}`))
	f.Fuzz(func(t *testing.T, table []byte) {
		fs := memfs.New(memfs.Options{})
		n, _, err := fs.Host().Mkdir("d", share.New{Mode: posix.S_IFDIR | 0o755})
		if err != nil {
			t.Fatal(err)
		}
		file, h, _, err := n.Create("f", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o644})
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
		file.Release()
		n.Release()
		s, err := share.NewSession(share.Config{Backend: fs, Private: true})
		if err != nil {
			t.Fatal(err)
		}
		if s.Restore(t.Context(), table) != nil {
			return
		}
		g := serveSession(t, s)
		<-s.Renewed()
		if _, err := g.lookup(fuse.RootID, "d"); err != nil {
			t.Errorf("lookup: %v", err)
		}
		g.unmount()
		empty(t, fs)
	})
}
