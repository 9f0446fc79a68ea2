package share

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/share/fuse"
)

// oldestMinor is the least of the protocol that is spoken: Linux 5.4's. The structures
// have not changed since.
const oldestMinor = 31

// abilities are what is asked of every kernel. Not among them, on purpose: writeback
// (the kernel would mind neither size nor time of the host), POSIX_ACL (without it the
// kernel answers for ACLs), DONT_MASK, EXPORT_SUPPORT, SUBMOUNTS, DAX.
const abilities = fuse.AsyncRead | fuse.BigWrites | fuse.AtomicOTrunc | fuse.ParallelDirops |
	fuse.MaxPagesSet | fuse.AsyncDIO | fuse.AbortError | fuse.CacheSymlinks |
	fuse.DoReaddirplus | fuse.ReaddirplusAuto | fuse.HandleKillprivV2 |
	fuse.InitExt | fuse.HasExpireOnly

// trusted tells whether the host tells of all changes, where it is asked to.
func (s *Session) trusted() bool { return s.watcher != nil && s.features.Local }

// initialize answers INIT, the kernel's first request. It runs on the reader.
func (s *Session) initialize(_ context.Context, r *request) error {
	var m fuse.InitIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil || s.opened.Load() || r.Unique == 0 {
		return fmt.Errorf("%w: INIT", fuse.ErrMalformed)
	}
	if m.Major > fuse.Major { // the kernel is to ask again with a version that both know
		r.append(fuse.InitOut{Major: fuse.Major, Minor: fuse.Minor})
		return s.answer(r, nil)
	}
	if m.Major < fuse.Major || m.Minor < oldestMinor {
		return fmt.Errorf("%w: protocol %d.%d, oldest is %d.%d", fuse.ErrMalformed, m.Major, m.Minor, fuse.Major, oldestMinor)
	}
	want := abilities
	if s.trusted() {
		// Else the guest's own writes, which move the time of change, would drop what it
		// has cached of the file.
		want |= fuse.ExplicitInvalData
	} else {
		want |= fuse.AutoInvalData
	}
	if !s.private {
		want |= fuse.PosixLocks | fuse.FlockLocks
	}
	flags := want & m.Flags
	s.expire.Store(flags&fuse.HasExpireOnly != 0)
	r.append(fuse.InitOut{Major: fuse.Major, Minor: min(m.Minor, fuse.Minor), MaxReadahead: m.MaxReadahead,
		Flags: flags, MaxBackground: 64, CongestionThreshold: 48, MaxWrite: fuse.MaxWrite,
		TimeGran: max(s.features.TimeGran, 1), MaxPages: fuse.MaxPages})
	if err := s.answer(r, nil); err != nil {
		return err
	}
	if root := s.nodes.get(fuse.RootID); root != nil {
		s.watch(root) // a file is never looked into
		s.nodes.unref(root)
	}
	s.opened.Store(true)
	// FLUSH has nothing to do here but to drop locks, and a file's deferred errors come
	// from its fsync and its close, so the relay may answer it. The capability of a file
	// is in an attribute: only a backend that can have none lets the relay deny it.
	options := fuse.Options{Flags: fuse.OptionFlush}
	if s.features.NoSecurity {
		options.Flags |= fuse.OptionNoCapability
	}
	return s.out.write(fuse.AppendNotify(nil, fuse.CodeOptions, options))
}

// control takes a frame of the relay's own.
func (s *Session) control(r *request) error {
	if r.Unique != 0 {
		return fmt.Errorf("%w: %v with a number", fuse.ErrMalformed, r.Opcode)
	}
	switch r.Opcode {
	case fuse.OpHello:
		var m fuse.Hello
		m.Decode(&r.d)
		if r.d.End() != nil || m.Version != fuse.ControlVersion || s.tid.Swap(m.TID) != 0 {
			return fmt.Errorf("%w: HELLO", fuse.ErrMalformed)
		}
	case fuse.OpNotified:
		var m fuse.Notified
		m.Decode(&r.d)
		if r.d.End() != nil || !s.notes.acked(m.Errno) {
			return fmt.Errorf("%w: NOTIFIED", fuse.ErrMalformed)
		}
	case fuse.OpInjected:
		var m fuse.Injected
		m.Decode(&r.d)
		if r.d.End() != nil {
			return fmt.Errorf("%w: INJECTED", fuse.ErrMalformed)
		}
		s.inject.acked(m)
	}
	return nil
}
