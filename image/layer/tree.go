package layer

import (
	"archive/tar"
	"errors"
	"path"
	"strings"
)

// Bounds that Linux sets to any path.
const (
	maxPath      = 4095
	maxComponent = 255
	maxLinkHops  = 40
)

// Reasons to refuse a path. They become part of an error that names the entry.
var (
	errClimbs     = errors.New("path climbs out of the image")
	errNotFolder  = errors.New("a parent of the path is not a folder")
	errLoop       = errors.New("too many symbolic links in the path")
	errLongPath   = errors.New("path is longer than Linux allows")
	errBadPath    = errors.New("path has a zero byte in it")
	errNoTarget   = errors.New("target of the hard link is not in the layer before it")
	errLinkFolder = errors.New("target of the hard link is a folder")
	errTooMany    = errors.New("too many entries in the layer")
)

type kind uint8

const (
	kindFolder kind = iota
	kindSymlink
	kindWhiteout
	kindOther // regular files, devices, pipes
)

// node is one name in the layer's tree.
type node struct {
	parent   *node
	name     string
	length   int              // of its path
	children map[string]*node // folders only
	file     *inode
}

// inode is what names stand for; hard links share one.
type inode struct {
	kind   kind
	source int         // index of the tar entry that holds it
	link   string      // symlinks: the target
	header *tar.Header // folders: all that was said of them so far, merged
	opaque bool        // folders: what lower layers have in it is hidden
}

func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	var parts []string
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

// tree is the layer as the entries read so far make it.
type tree struct {
	root  *node
	count int // nodes ever made
	limit int
}

func newTree(limit int) *tree {
	return &tree{limit: limit, root: &node{
		children: map[string]*node{},
		file:     &inode{kind: kindFolder},
	}}
}

// add puts a new name into a folder. There must be none of that name.
func (t *tree) add(dir *node, name string, f *inode) (*node, error) {
	if t.count++; t.count > t.limit {
		return nil, errTooMany
	}
	n := &node{parent: dir, name: strings.Clone(name), file: f, length: dir.length + 1 + len(name)}
	if n.length > maxPath {
		return nil, errLongPath // also where symlinks lead deeper than names do
	}
	if f.kind == kindFolder {
		n.children = map[string]*node{}
	}
	dir.children[n.name] = n
	return n, nil
}

// remove takes a name and all beneath it out of the tree.
func (t *tree) remove(n *node) { delete(n.parent.children, n.name) }

// splitName checks the name of an entry and returns its parts. A leading slash means
// the image's root, as it does to tar and to other runtimes.
func splitName(name string) ([]string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return nil, errBadPath
	}
	name = strings.TrimLeft(name, "/")
	if len(name) > maxPath {
		return nil, errLongPath
	}
	clean := path.Clean(name)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, errClimbs
	}
	if clean == "." {
		return nil, nil
	}
	parts := strings.Split(clean, "/")
	for _, p := range parts {
		if len(p) > maxComponent {
			return nil, errLongPath
		}
	}
	return parts, nil
}

// walked is what a walk to a parent folder did to the tree.
type walked struct {
	made     []*node // folders that had no entry so far
	conflict bool    // a whiteout became a folder
}

// folder walks parts from the root to a folder. With create, missing folders are made,
// as tar does. Relative symlinks that stay inside the image are followed, absolute
// ones and those that climb are refused.
func (t *tree) folder(parts []string, create bool) (*node, walked, error) {
	var w walked
	cur, hops := t.root, 0
	for len(parts) > 0 {
		name := parts[0]
		parts = parts[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if cur.parent == nil {
				return nil, w, errClimbs
			}
			cur = cur.parent
			continue
		}
		child := cur.children[name]
		switch {
		case child == nil:
			if !create {
				return nil, w, errNoTarget
			}
			if len(name) > maxComponent {
				return nil, w, errLongPath
			}
			n, err := t.add(cur, name, &inode{kind: kindFolder})
			if err != nil {
				return nil, w, err
			}
			w.made = append(w.made, n)
			cur = n
		case child.file.kind == kindFolder:
			cur = child
		case child.file.kind == kindSymlink:
			if hops++; hops > maxLinkHops {
				return nil, w, errLoop
			}
			if strings.HasPrefix(child.file.link, "/") {
				return nil, w, errClimbs
			}
			parts = append(strings.Split(child.file.link, "/"), parts...)
		case child.file.kind == kindWhiteout && create:
			// The name hides what is below and holds something new.
			t.remove(child)
			n, err := t.add(cur, name, &inode{kind: kindFolder, opaque: true})
			if err != nil {
				return nil, w, err
			}
			w.made, w.conflict = append(w.made, n), true
			cur = n
		default:
			return nil, w, errNotFolder
		}
	}
	return cur, w, nil
}

// lookup finds a name that must exist. The last part is not followed.
func (t *tree) lookup(parts []string) (*node, error) {
	if len(parts) == 0 {
		return t.root, nil
	}
	dir, _, err := t.folder(parts[:len(parts)-1], false)
	if err != nil {
		return nil, err
	}
	n := dir.children[parts[len(parts)-1]]
	if n == nil || n.file.kind == kindWhiteout {
		return nil, errNoTarget
	}
	return n, nil
}
