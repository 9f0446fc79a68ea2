package ntfs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// errExclusive asks for a rename to be done again with Backend.tree held to write.
var errExclusive = errors.New("no handle may be open below")

// A mover is one rename.
type mover struct {
	b        *Backend
	from, to *inode
	dirA     ntapi.Handle // of from
	dirB     ntapi.Handle // of to
	alone    bool         // Backend.tree is held to write
}

// Rename implements share.Node.
func (n *node) Rename(name string, to share.Node, newName string, flags uint32) error {
	t, ok := to.(*node)
	switch {
	case !ok || t.b != n.b:
		return n.wrap("rename in", posix.EXDEV)
	case flags != 0 && flags != posix.RENAME_NOREPLACE && flags != posix.RENAME_EXCHANGE:
		return n.wrap("rename in", posix.EINVAL)
	}
	run := func(alone bool) error {
		return n.inDirTree(func(dirA ntapi.Handle, _ ntapi.StatLx) error {
			return t.inDirTree(func(dirB ntapi.Handle, st ntapi.StatLx) error {
				t.f.wantCase(dirB, st)
				m := mover{n.b, n.f, t.f, dirA, dirB, alone}
				if flags == posix.RENAME_EXCHANGE {
					return m.exchange(name, newName)
				}
				return m.rename(name, newName, flags == posix.RENAME_NOREPLACE)
			})
		})
	}
	n.b.tree.RLock()
	err := run(false)
	n.b.tree.RUnlock()
	if errors.Is(err, errExclusive) {
		n.b.tree.Lock()
		err = run(true)
		n.b.tree.Unlock()
	}
	return n.wrap("rename in", err)
}

// lookup finds a name and its type.
func (m *mover) lookup(dir ntapi.Handle, i *inode, name string) (found, uint32, error) {
	x, err := m.b.lookup(dir, i, name, ntapi.AccessDelete)
	if err != nil {
		return x, 0, err
	}
	kind, err := typeOf(x.st.Attributes, x.st.ReparseTag)
	if err != nil {
		closeQuietly(x.h)
	}
	return x, kind, err
}

// rename moves a name, over what has the other when that may be. Another program that
// makes the new name meanwhile is heeded a few times.
func (m *mover) rename(name, newName string, keep bool) error {
	for try := 1; ; try++ {
		err := m.renameOnce(name, newName, keep)
		if errors.Is(err, ntapi.StatusObjectNameCollision) && !keep && try < raceTries {
			continue
		}
		return err
	}
}

func (m *mover) renameOnce(name, newName string, keep bool) error {
	src, kind, err := m.lookup(m.dirA, m.from, name)
	if err != nil {
		return err
	}
	defer closeQuietly(src.h)
	if err := m.mayMove(src, kind); err != nil {
		return err
	}
	dst, dstKind, err := m.lookup(m.dirB, m.to, newName)
	if errors.Is(err, posix.ENOENT) {
		host, err := hostName(newName)
		if err != nil {
			return err
		}
		// Not to replace: what NTFS would find by another case or an alias is not ours.
		return m.move(src, kind, host, 0)
	}
	if err != nil {
		return err
	}
	defer func() {
		if dst.h != nil {
			closeQuietly(dst.h)
		}
	}()
	switch {
	case keep:
		return posix.EEXIST
	case dst.st.ID == src.st.ID:
		return nil // two names of one file
	case kind == posix.S_IFDIR && dstKind != posix.S_IFDIR:
		return posix.ENOTDIR
	case kind != posix.S_IFDIR && dstKind == posix.S_IFDIR:
		return posix.EISDIR
	case kind == posix.S_IFDIR:
		return m.overDir(src, dst)
	}
	if dst.st.Attributes&ntapi.AttributeDirectory != 0 || src.st.Attributes&ntapi.AttributeDirectory != 0 {
		return m.overDir(src, dst) // a junction: NTFS replaces none
	}
	return m.overFile(src, kind, dst)
}

// mayMove sees to what a directory's move needs: that it does not go below itself, and
// that nobody of ours has anything open below it.
func (m *mover) mayMove(src found, kind uint32) error {
	if kind != posix.S_IFDIR {
		return nil
	}
	below, err := m.below(src.h, m.dirB)
	switch {
	case err != nil:
		return err
	case below:
		return posix.EINVAL
	case !m.alone:
		return errExclusive
	}
	return nil
}

// below tells whether h is dir or below it.
func (m *mover) below(dir, h ntapi.Handle) (bool, error) {
	top, err := dir.Path()
	if err != nil {
		return false, err
	}
	p, err := h.Path()
	return p == top || strings.HasPrefix(p, top+`\`), err
}

// overFile replaces a file, which nodes may go on with.
func (m *mover) overFile(src found, kind uint32, dst found) error {
	i := m.b.acquire(dst.st.ID)
	defer m.b.release(i)
	i.meta.Lock()
	defer i.meta.Unlock()
	st, err := dst.h.Stat()
	if err != nil {
		return err
	}
	return m.b.orphan(i, dst.h, st, func() error {
		return m.move(src, kind, dst.name, ntapi.RenameReplace)
	})
}

// overDir replaces an empty directory, which NTFS does not: it is put aside, and comes
// back when the rename fails.
func (m *mover) overDir(src, dst found) (err error) {
	if !m.alone {
		return errExclusive
	}
	entries, err := m.b.entries(dst.h, nil)
	if err != nil {
		return err
	}
	if len(entries) > 2 {
		return posix.ENOTEMPTY
	}
	var steps undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, steps.Run(context.Background(), time.Second))
		}
	}()
	aside := hiddenName("d")
	if err := m.to1(dst.h, m.dirB, aside); err != nil {
		return err
	}
	steps.Push("put the replaced folder back", func(context.Context) error { return m.to1(dst.h, m.dirB, dst.name) })
	if err := m.to1(src.h, m.dirB, dst.name); err != nil {
		return err
	}
	steps.Push("put the folder back", func(context.Context) error { return m.to1(src.h, m.dirA, src.name) })
	return m.b.dropName(m.dirB, m.to, found{dst.h, dst.st, aside})
}

// exchange swaps two names by a third, step by step; other requests of this share do not
// see the steps.
func (m *mover) exchange(name, newName string) (err error) {
	if !m.alone {
		return errExclusive
	}
	a, kindA, err := m.lookup(m.dirA, m.from, name)
	if err != nil {
		return err
	}
	defer closeQuietly(a.h)
	c, kindC, err := m.lookup(m.dirB, m.to, newName)
	if err != nil {
		return err
	}
	defer closeQuietly(c.h)
	if a.st.ID == c.st.ID {
		return nil
	}
	for _, pair := range []struct {
		kind     uint32
		dir, far ntapi.Handle
	}{{kindA, a.h, m.dirB}, {kindC, c.h, m.dirA}} {
		if pair.kind != posix.S_IFDIR {
			continue
		}
		if below, err := m.below(pair.dir, pair.far); err != nil || below {
			return errors.Join(err, posix.EINVAL)
		}
	}
	var steps undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, steps.Run(context.Background(), time.Second))
		}
	}()
	if err := m.to1(a.h, m.dirA, hiddenName("x")); err != nil {
		return err
	}
	steps.Push("put the first back", func(context.Context) error { return m.to1(a.h, m.dirA, a.name) })
	if err := m.to1(c.h, m.dirA, a.name); err != nil {
		return err
	}
	steps.Push("put the second back", func(context.Context) error { return m.to1(c.h, m.dirB, c.name) })
	return m.to1(a.h, m.dirB, c.name)
}

// move renames src to a name in the new directory.
func (m *mover) move(src found, kind uint32, host string, flags uint32) error {
	if kind == posix.S_IFDIR {
		return m.to1(src.h, m.dirB, host)
	}
	return m.b.retry(func() error {
		return src.h.Rename(m.dirB, host, renameFlags|flags)
	}, ntapi.StatusSharingViolation, ntapi.StatusDeletePending)
}

// to1 renames what h has open to a free name. Of a directory, files that guests have open
// below are parked meanwhile; those of others are waited for. The caller has b.tree to
// write.
func (m *mover) to1(h, dir ntapi.Handle, host string) error {
	once := func() error { return h.Rename(dir, host, renameFlags) }
	err := once()
	if !errors.Is(err, ntapi.StatusAccessDenied) {
		return err
	}
	parked, err := m.b.parkBelow(h)
	if err == nil {
		err = m.b.retry(once, ntapi.StatusAccessDenied, ntapi.StatusSharingViolation)
	}
	for _, f := range parked {
		// One that does not come back is opened when it is used, and tells then.
		_, _ = f.handle()
	}
	return err
}

// parkBelow closes the handles of files that are open below a directory. Of a file with
// more names any may be below.
func (b *Backend) parkBelow(dir ntapi.Handle) ([]*file, error) {
	top, err := dir.Path()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var parked []*file
	for f := range b.files {
		h := f.h.Load()
		if h == nil || f.i.gone.Load() {
			continue
		}
		p, err := (*h).Path()
		if err != nil {
			continue // it has no name: it is below nothing
		}
		st, err := (*h).Stat()
		if err == nil && st.Links < 2 && !strings.HasPrefix(p, top+`\`) {
			continue
		}
		if err := f.park(); err != nil {
			return parked, err
		}
		parked = append(parked, f)
	}
	return parked, nil
}

// park closes the file's handle; the next use opens it again. The caller has b.tree to
// write.
func (f *file) park() error {
	h := f.h.Swap(nil)
	if h == nil {
		return nil
	}
	f.held.Store(false)
	f.wrote.Store(0) // the close tells
	return (*h).Close()
}
