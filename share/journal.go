package share

import (
	"sync"
	"time"
)

// echoKind is what a guest's request does, as the host's events will tell of it.
type echoKind uint8

const (
	echoCreate echoKind = iota + 1
	echoRemove
	echoModify
	echoAttrib
)

// echoFor is how long an event of the guest's own doing may take to come.
const echoFor = 2 * time.Second

// maxEchoes bounds the journal. Past it the guest may get events of its own doing twice.
const maxEchoes = 64 << 10

// journal remembers what the guest has done lately, to know the host's events of it from
// those of others. It is asked only where the backend cannot tell.
type journal struct {
	mu    sync.Mutex // guards all
	names map[nameKey]*nameEcho
	files map[FileID]*fileEcho
	swept time.Time
}

type nameKey struct {
	dir  FileID
	name string
	kind echoKind
}

// nameEcho counts the guest's doings at one name whose events have not come.
type nameEcho struct {
	count int
	until time.Time
}

// fileEcho is what a file was when the guest had last changed it.
type fileEcho struct {
	busy  int // changes under way
	after version
	until time.Time
}

func nothing() {}

// echo notes that the guest is about to make or remove a name; the function it returns
// notes that it has tried.
func (s *Session) echo(dir *node, base string, kind echoKind) func() {
	if s.watcher == nil {
		return nothing
	}
	j := &s.journal
	key := nameKey{dir.fid, base, kind}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	e := j.names[key]
	if e == nil {
		if len(j.names) >= maxEchoes {
			return nothing
		}
		e = &nameEcho{}
		j.names[key] = e
	}
	e.count++
	e.until = time.Now().Add(echoFor)
	return nothing
}

// echoFile notes that the guest is about to change a file; the function it returns notes
// what the file is then.
func (s *Session) echoFile(n *node, _ echoKind) func() {
	if s.watcher == nil {
		return nothing
	}
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	e := j.files[n.fid]
	if e == nil {
		if len(j.files) >= maxEchoes {
			return nothing
		}
		e = &fileEcho{}
		j.files[n.fid] = e
	}
	e.busy++
	return func() {
		var v version
		if !s.tells.Load() { // else the journal is not asked, and this is saved
			if a, err := n.n.Attr(); err == nil {
				v = versionOf(&a)
			}
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		e.busy--
		e.after, e.until = v, time.Now().Add(echoFor)
	}
}

// sweep drops what is over, once in a while.
func (j *journal) sweep() {
	now := time.Now()
	if j.names == nil {
		j.names, j.files = make(map[nameKey]*nameEcho), make(map[FileID]*fileEcho)
	}
	if now.Sub(j.swept) < echoFor {
		return
	}
	j.swept = now
	for k, e := range j.names {
		if now.After(e.until) {
			delete(j.names, k)
		}
	}
	for k, e := range j.files {
		if e.busy == 0 && now.After(e.until) {
			delete(j.files, k)
		}
	}
}

// ownName tells whether an event at a name is of the guest's doing, once for each doing.
func (j *journal) ownName(dir FileID, base string, kind echoKind) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.names[nameKey{dir, base, kind}]
	if e == nil || e.count == 0 || time.Now().After(e.until) {
		return false
	}
	e.count--
	return true
}

// ownFile tells whether a file that has changed is as the guest left it.
func (j *journal) ownFile(f FileID, now version) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.files[f]
	if e == nil {
		return false
	}
	return e.busy > 0 || time.Now().Before(e.until) && e.after.known && e.after == now
}

// made notes the state of a file that the guest has just made: its events follow.
func (s *Session) made(a *Attr) {
	if s.watcher == nil || s.tells.Load() {
		return
	}
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	if len(j.files) < maxEchoes {
		if e := j.files[a.ID]; e == nil {
			j.files[a.ID] = &fileEcho{after: versionOf(a), until: time.Now().Add(echoFor)}
		}
	}
}
