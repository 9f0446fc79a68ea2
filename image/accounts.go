package image

import (
	"container/list"
	"context"
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/image/stack"
	"github.com/porthole-run/porthole/internal/account"
)

// Bounds of what is kept. A guest reads larger files.
const (
	maxAccountFile = 256 << 10
	maxAccounts    = 2 << 20 // bytes, of all images together
	accountsCost   = 256     // bytes that an image takes beside its files
)

// Accounts returns the passwd and group files of an image as a container sees them that has
// not written yet. root is what Prepare gave to a holder that has not let go. ok is false when only a guest can
// tell for certain, or knows why it cannot. They are read once, and kept while the image is and there is
// room.
func (s *Store) Accounts(ctx context.Context, root RootFS) (files account.Files, ok bool) {
	id := digest.Digest(root.ImageID)
	s.mu.Lock()
	a, have := s.accounts.get(id)
	s.mu.Unlock()
	if have {
		return a.files, a.known
	}
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return account.Files{}, false
	}
	defer leave()
	files, err = readAccounts(root.Layers)
	if err != nil {
		s.log.DebugContext(ctx, "users of image are left to guests", "image", root.ImageID, "error", err)
	}
	if err != nil && !errors.Is(err, stack.ErrUnsettled) {
		return account.Files{}, false // the next to ask may be luckier
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[id] != nil {
		s.accounts.put(accounts{image: id, files: files, known: err == nil})
	}
	return files, err == nil
}

func readAccounts(layers []Layer) (files account.Files, err error) {
	disks := make([]string, len(layers))
	for i, l := range layers {
		disks[i] = l.Path
	}
	st, err := stack.Open(disks)
	if err != nil {
		return account.Files{}, err
	}
	defer st.Close()
	for name, to := range map[string]*[]byte{"/etc/passwd": &files.Passwd, "/etc/group": &files.Group} {
		b, err := st.ReadFile(name, maxAccountFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is not there is empty
			return account.Files{}, err
		}
		*to = b
	}
	return files, nil
}

// accounts is what is kept of an image.
type accounts struct {
	image digest.Digest
	files account.Files
	known bool // else only guests know
}

func (a accounts) cost() int { return accountsCost + len(a.files.Passwd) + len(a.files.Group) }

// accountCache keeps accounts of the images that were used last. Its zero value is empty. It is not safe
// for concurrent use.
type accountCache struct {
	used    list.List // of accounts, the last used first
	byImage map[digest.Digest]*list.Element
	bytes   int
}

func (c *accountCache) get(image digest.Digest) (accounts, bool) {
	e := c.byImage[image]
	if e == nil {
		return accounts{}, false
	}
	c.used.MoveToFront(e)
	return e.Value.(accounts), true
}

func (c *accountCache) put(a accounts) {
	c.drop(a.image)
	if c.byImage == nil {
		c.byImage = map[digest.Digest]*list.Element{}
	}
	c.byImage[a.image] = c.used.PushFront(a)
	for c.bytes += a.cost(); c.bytes > maxAccounts; {
		c.drop(c.used.Back().Value.(accounts).image)
	}
}

func (c *accountCache) drop(image digest.Digest) {
	e := c.byImage[image]
	if e == nil {
		return
	}
	c.bytes -= e.Value.(accounts).cost()
	c.used.Remove(e)
	delete(c.byImage, image)
}
