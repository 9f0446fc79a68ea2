package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh." // AUFS' own files, but for the next one
	opaqueMarker   = ".wh..wh..opq"
)

// errOutOfOrder ends a first reading that found entries which the ext4 writer cannot
// take in the order they come.
var errOutOfOrder = errors.New("entries are out of order")

// normalizer puts a layer's tar into normal form.
type normalizer struct {
	t        *tree
	conflict bool // the tree no longer equals what was written
	buf      []byte
}

func newNormalizer(maxEntries int) *normalizer {
	return &normalizer{t: newTree(maxEntries), buf: make([]byte, chunkSize)}
}

// scan reads the layer for the first time and writes it to w while entries come in
// an order that can be written. When they do not, it calls giveUp once, reads on to
// learn the rest of the tree, and returns errOutOfOrder: replay does it then.
func (n *normalizer) scan(r io.Reader, w io.Writer, giveUp func()) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	if err := writeHeader(tw, folderHeader(n.t.root)); err != nil { // the layer may have no entry for it
		return err
	}
	for i := 0; ; i++ {
		h, err := nextEntry(tr)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		before := n.conflict
		out, err := n.entry(i, h)
		if err != nil {
			return entryError(h, err)
		}
		if n.conflict {
			if !before {
				giveUp()
			}
			continue
		}
		for _, o := range out {
			if err := n.writeEntry(tw, o, tr); err != nil {
				return entryError(h, err)
			}
		}
	}
	if n.conflict {
		return errOutOfOrder
	}
	return tw.Close()
}

// entry applies one entry to the tree and returns what to write for it.
func (n *normalizer) entry(i int, h *tar.Header) ([]*tar.Header, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	parts, err := splitName(h.Name)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return nil, errors.New("the root of an image must be a folder")
		}
		return n.folder(n.t.root, h)
	}
	base := parts[len(parts)-1]
	for k, p := range parts {
		if strings.HasPrefix(p, metaPrefix) && (p != opaqueMarker || k < len(parts)-1) {
			return nil, nil
		}
	}
	dir, walk, err := n.t.folder(parts[:len(parts)-1], true)
	if err != nil {
		return nil, err
	}
	n.conflict = n.conflict || walk.conflict
	var out []*tar.Header
	for _, made := range walk.made {
		out = append(out, folderHeader(made))
	}
	rest, err := n.child(i, h, dir, base)
	return append(out, rest...), err
}

// child applies an entry to the folder that it is in.
func (n *normalizer) child(i int, h *tar.Header, dir *node, base string) ([]*tar.Header, error) {
	old := dir.children[base]
	switch {
	case base == opaqueMarker:
		dir.file.opaque = true
		return []*tar.Header{folderHeader(dir)}, nil
	case strings.HasPrefix(base, whiteoutPrefix):
		return n.whiteout(dir, base[len(whiteoutPrefix):])
	case h.Typeflag == tar.TypeLink:
		return n.link(h, dir, base, old)
	case h.Typeflag == tar.TypeDir:
		opaque := false
		if old != nil && old.file.kind != kindFolder {
			opaque = old.file.kind == kindWhiteout
			n.replace(old)
			old = nil
		}
		if old == nil {
			var err error
			if old, err = n.t.add(dir, base, &inode{kind: kindFolder, opaque: opaque}); err != nil {
				return nil, err
			}
		}
		return n.folder(old, h)
	}
	if old != nil {
		n.replace(old)
	}
	f := &inode{kind: kindOther, source: i}
	if h.Typeflag == tar.TypeSymlink {
		f.kind, f.link = kindSymlink, strings.Clone(h.Linkname)
	}
	made, err := n.t.add(dir, base, f)
	if err != nil {
		return nil, err
	}
	out, err := makeHeader(h, made.path())
	if err != nil {
		return nil, err
	}
	return []*tar.Header{out}, nil
}

func (n *normalizer) replace(old *node) {
	n.t.remove(old)
	n.conflict = true
}

// folder merges an entry into what is known of a folder.
func (n *normalizer) folder(f *node, h *tar.Header) ([]*tar.Header, error) {
	out, err := makeHeader(h, "")
	if err != nil {
		return nil, err
	}
	if old := f.file.header; old != nil {
		for k, v := range old.PAXRecords {
			if _, ok := out.PAXRecords[k]; !ok {
				setXattr(out, strings.TrimPrefix(k, xattrRecord), v)
			}
		}
	}
	f.file.header = out
	return []*tar.Header{folderHeader(f)}, nil
}

// whiteout hides name in the layers below. What this layer itself has of that name
// stays, and what lies below a folder of that name is hidden by making it opaque.
func (n *normalizer) whiteout(dir *node, name string) ([]*tar.Header, error) {
	if name == "" || name == "." || name == ".." {
		return nil, errors.New("whiteout without a name")
	}
	old := dir.children[name]
	switch {
	case old == nil:
		made, err := n.t.add(dir, name, &inode{kind: kindWhiteout})
		if err != nil {
			return nil, err
		}
		return []*tar.Header{whiteoutHeader(made.path())}, nil
	case old.file.kind == kindFolder:
		old.file.opaque = true
		return []*tar.Header{folderHeader(old)}, nil
	}
	return nil, nil
}

func (n *normalizer) link(h *tar.Header, dir *node, base string, old *node) ([]*tar.Header, error) {
	parts, err := splitName(h.Linkname)
	if err != nil {
		return nil, err
	}
	target, err := n.t.lookup(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", err, h.Linkname)
	}
	switch {
	case target.file.kind == kindFolder:
		return nil, fmt.Errorf("%w: %q", errLinkFolder, h.Linkname)
	case old != nil && old.file == target.file:
		return nil, nil
	case old != nil:
		n.replace(old)
	}
	file, to := target.file, target.path()
	made, err := n.t.add(dir, base, file)
	if err != nil {
		return nil, err
	}
	return []*tar.Header{linkHeader(made.path(), to)}, nil
}

// replay writes the tree that scan built, with the contents from a second reading.
func (n *normalizer) replay(r io.Reader, w io.Writer) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	names := map[int][]string{} // paths of each entry that is still there
	if err := n.skeleton(tw, n.t.root, names); err != nil {
		return err
	}
	for i := 0; ; i++ {
		h, err := nextEntry(tr)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		paths := names[i]
		if len(paths) == 0 {
			continue
		}
		out, err := makeHeader(h, paths[0])
		if err != nil {
			return entryError(h, err)
		}
		if err := n.writeEntry(tw, out, tr); err != nil {
			return entryError(h, err)
		}
		for _, p := range paths[1:] {
			if err := writeHeader(tw, linkHeader(p, paths[0])); err != nil {
				return entryError(h, err)
			}
		}
	}
	return tw.Close()
}

// skeleton writes the folders and whiteouts beneath n and collects the other names.
func (n *normalizer) skeleton(tw *tar.Writer, dir *node, names map[int][]string) error {
	if err := writeHeader(tw, folderHeader(dir)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		child := dir.children[name]
		switch child.file.kind {
		case kindFolder:
			if err := n.skeleton(tw, child, names); err != nil {
				return err
			}
		case kindWhiteout:
			if err := writeHeader(tw, whiteoutHeader(child.path())); err != nil {
				return err
			}
		default:
			names[child.file.source] = append(names[child.file.source], child.path())
		}
	}
	return nil
}

func nextEntry(tr *tar.Reader) (*tar.Header, error) {
	h, err := tr.Next()
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("layer is not a whole tar: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	return h, err
}

// writeHeader writes what normal form says of an entry, at its place in the layer.
func writeHeader(tw *tar.Writer, h *tar.Header) error { return tw.WriteHeader(rooted(h)) }

func (n *normalizer) writeEntry(tw *tar.Writer, h *tar.Header, content io.Reader) error {
	if err := writeHeader(tw, h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.CopyBuffer(tw, content, n.buf)
	return err
}

// entryError names the entry that an error is about. Faults of the entry itself are
// the image's; those of reading and writing keep their kind.
func entryError(h *tar.Header, err error) error {
	name := h.Name
	if len(name) > 256 {
		name = name[:256] + "..."
	}
	if isStreamError(err) {
		return fmt.Errorf("tar entry %q: %w", name, err)
	}
	return fmt.Errorf("tar entry %q: %w: %w", name, err, errdefs.ErrInvalidArgument)
}
