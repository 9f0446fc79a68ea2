package layer

import (
	"bytes"
	"errors"
	"hash/maphash"
	"path"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/image/layer/ext4"
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
	kindNull  // a character device 0/0 of the image's, which overlayfs takes for a whiteout
)

// nodeID and fileID are indexes: a layer may have millions of names, and each pointer
// would cost memory, and time of the collector.
type (
	nodeID uint32
	fileID uint32
)

const rootNode nodeID = 0

// node is one name in the layer's tree.
type node struct {
	parent nodeID
	name   ext4.Name
	file   fileID
	length uint16 // of its path
	gone   bool   // removed, with all beneath
}

// inode is what names stand for; hard links share one.
type inode struct {
	source int32      // index of the tar entry that holds it
	detail uint32     // folders: index of their attributes; symlinks: ext4.Name of the target
	inode  ext4.Inode // 0: not written so far
	kind   kind
	opaque bool // folders: what lower layers have in it is hidden
	veiled bool // folders: overlayfs is told that whiteouts may be in it
}

// tree is the layer as the entries read so far make it.
type tree struct {
	names   ext4.Names
	nodes   ext4.List[node]
	files   ext4.List[inode]
	folders ext4.List[ext4.Attr] // all that was said of folders so far, merged
	limit   int                  // of nodes ever made
	entries int32                // of the tar

	slots []nodeID // a table of nodes by parent and name; 0: free, as the root is in no folder
	seed  maphash.Seed
}

func newTree(limit int) (*tree, error) {
	t := &tree{limit: limit, slots: make([]nodeID, 64), seed: maphash.MakeSeed()}
	name, err := t.names.Add(Root)
	t.nodes.Append(node{name: name, file: t.addFolder(false)})
	return t, err
}

func (t *tree) node(n nodeID) *node { return t.nodes.At(int(n)) }

// file is what a name stands for.
func (t *tree) file(n nodeID) *inode { return t.files.At(int(t.node(n).file)) }

// attr is what was said of a folder so far.
func (t *tree) attr(n nodeID) *ext4.Attr { return t.folders.At(int(t.file(n).detail)) }

// addFolder makes a folder of which nothing is said yet, without a name.
func (t *tree) addFolder(opaque bool) fileID {
	attr := t.folders.Append(ext4.Attr{Mode: 0o755})
	return t.addFile(inode{kind: kindFolder, opaque: opaque, detail: uint32(attr)})
}

func (t *tree) addFile(f inode) fileID { return fileID(t.files.Append(f)) }

// slot is where in the table a name is, or would be.
func (t *tree) slot(dir nodeID, name []byte) *nodeID {
	h := maphash.Bytes(t.seed, name) + uint64(dir)*0x9e3779b97f4a7c15
	h ^= h >> 32
	for mask := uint64(len(t.slots) - 1); ; h++ {
		s := &t.slots[h&mask]
		if *s == 0 {
			return s
		}
		if n := t.node(*s); n.parent == dir && !n.gone && string(t.names.Bytes(n.name)) == string(name) {
			return s
		}
	}
}

// child finds a name in a folder.
func (t *tree) child(dir nodeID, name string) (nodeID, bool) {
	n := *t.slot(dir, []byte(name))
	return n, n != 0
}

// add puts a new name into a folder. There must be none of that name.
func (t *tree) add(dir nodeID, name string, f fileID) (nodeID, error) {
	length := int(t.node(dir).length) + 1 + len(name)
	switch {
	case t.nodes.Len() > t.limit:
		return 0, errTooMany
	case length > maxPath:
		return 0, errLongPath // also where symlinks lead deeper than names do
	}
	kept, err := t.names.Add(name)
	if err != nil {
		return 0, err
	}
	n := nodeID(t.nodes.Append(node{parent: dir, name: kept, file: f, length: uint16(length)}))
	if t.nodes.Len() > len(t.slots)/4*3 {
		t.slots = make([]nodeID, 2*len(t.slots))
		for i := range nodeID(t.nodes.Len()) {
			t.enter(i)
		}
		return n, nil
	}
	t.enter(n)
	return n, nil
}

// enter puts a node into the table.
func (t *tree) enter(n nodeID) {
	if at := t.node(n); n != rootNode && !at.gone {
		*t.slot(at.parent, t.names.Bytes(at.name)) = n
	}
}

// remove takes a name and all beneath it out of the tree.
func (t *tree) remove(n nodeID) { t.node(n).gone = true }

// sorted returns all names by folder, and in it by name. Those of a folder are
// sorted[begins[folder]:begins[folder+1]].
func (t *tree) sorted() (sorted []nodeID, begins []uint32) {
	begins = make([]uint32, t.nodes.Len()+1)
	each := func(do func(nodeID, *node)) {
		for i := rootNode + 1; int(i) < t.nodes.Len(); i++ {
			if n := t.node(i); !n.gone {
				do(i, n)
			}
		}
	}
	each(func(_ nodeID, n *node) { begins[n.parent+1]++ })
	for i := range begins[1:] {
		begins[i+1] += begins[i]
	}
	sorted = make([]nodeID, begins[len(begins)-1])
	next := slices.Clone(begins)
	each(func(i nodeID, n *node) {
		sorted[next[n.parent]] = i
		next[n.parent]++
	})
	for i := range begins[1:] {
		slices.SortFunc(sorted[begins[i]:begins[i+1]], func(a, b nodeID) int {
			return bytes.Compare(t.names.Bytes(t.node(a).name), t.names.Bytes(t.node(b).name))
		})
	}
	return sorted, begins
}

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
	made     []nodeID // folders that had no entry so far
	conflict bool     // a whiteout became a folder
}

// folder walks parts from the root to a folder. With create, missing folders are made,
// as tar does. Relative symlinks that stay inside the image are followed, absolute
// ones and those that climb are refused.
func (t *tree) folder(parts []string, create bool) (nodeID, walked, error) {
	var w walked
	cur, hops := rootNode, 0
	for len(parts) > 0 {
		name := parts[0]
		parts = parts[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if cur == rootNode {
				return 0, w, errClimbs
			}
			cur = t.node(cur).parent
			continue
		}
		child, have := t.child(cur, name)
		switch {
		case !have:
			if !create {
				return 0, w, errNoTarget
			}
			if len(name) > maxComponent {
				return 0, w, errLongPath
			}
			n, err := t.add(cur, name, t.addFolder(false))
			if err != nil {
				return 0, w, err
			}
			w.made = append(w.made, n)
			cur = n
		case t.file(child).kind == kindFolder:
			cur = child
		case t.file(child).kind == kindSymlink:
			if hops++; hops > maxLinkHops {
				return 0, w, errLoop
			}
			to := string(t.names.Bytes(ext4.Name(t.file(child).detail)))
			if strings.HasPrefix(to, "/") {
				return 0, w, errClimbs
			}
			parts = append(strings.Split(to, "/"), parts...)
		case t.file(child).kind == kindWhiteout && create:
			// The name hides what is below and holds something new.
			t.remove(child)
			n, err := t.add(cur, name, t.addFolder(true))
			if err != nil {
				return 0, w, err
			}
			w.made, w.conflict = append(w.made, n), true
			cur = n
		default:
			return 0, w, errNotFolder
		}
	}
	return cur, w, nil
}

// lookup finds a name that must exist. The last part is not followed.
func (t *tree) lookup(parts []string) (nodeID, error) {
	if len(parts) == 0 {
		return rootNode, nil
	}
	dir, _, err := t.folder(parts[:len(parts)-1], false)
	if err != nil {
		return 0, err
	}
	n, have := t.child(dir, parts[len(parts)-1])
	if !have || t.file(n).kind == kindWhiteout {
		return 0, errNoTarget
	}
	return n, nil
}
