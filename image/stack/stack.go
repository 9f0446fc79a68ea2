package stack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/image/layer/ext4"
)

// ErrUnsettled is that a guest may find something else, or an error.
var ErrUnsettled = errors.New("not certain without a guest")

// Bounds of what is followed. The kernel's are higher.
const (
	maxLinks = 8
	maxName  = 255
)

// Attributes with which overlayfs says something of a file.
const (
	overlayPrefix = "trusted.overlay."
	opaque        = overlayPrefix + "opaque"
	opaqueYes     = "y"
	origin        = overlayPrefix + "origin" // without a value: whiteouts may be in the folder
)

// Stack is layers on one another.
type Stack struct {
	root  folder
	files []*os.File
}

// place is a folder, or another file, of one layer.
type place struct {
	layer *ext4.Reader
	node  *ext4.Node
}

// folder is what a folder is merged from: that of the topmost layer first.
type folder []place

// Open opens the disks of layers, bottom first.
func Open(disks []string) (*Stack, error) {
	s := &Stack{}
	var in []io.ReaderAt
	for _, name := range disks {
		f, err := os.Open(name)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.files, in = append(s.files, f), append(in, f)
	}
	var err error
	if s.root, err = roots(in); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the disks, which are only read.
func (s *Stack) Close() {
	for _, f := range s.files {
		f.Close()
	}
}

// roots finds the folder of each layer that holds what the image has in its root.
func roots(disks []io.ReaderAt) (folder, error) {
	var root folder
	for i, in := range slices.Backward(disks) {
		r, err := ext4.NewReader(in)
		if err != nil {
			return nil, unsettled(err)
		}
		top, err := r.Open(ext4.Root)
		if err != nil {
			return nil, unsettled(err)
		}
		p, isOpaque, err := enter(r, top, layer.Root)
		switch {
		case err != nil:
			return nil, unsettled(err)
		case !p.node.Mode.IsDir() || isOpaque && i > 0: // how much that hides is the kernel's secret
			return nil, fmt.Errorf("root of layer %d: %w", i, ErrUnsettled)
		}
		root = append(root, p)
	}
	return root, nil
}

// unsettled makes ErrUnsettled of what is wrong with a file system: what the kernel makes of
// that is its own affair. Other errors are those of the host.
func unsettled(err error) error {
	if errors.Is(err, ext4.ErrDamaged) || errors.Is(err, ext4.ErrFile) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	return err
}

// ReadFile returns a regular file of the image, of max bytes at most. name is absolute; links
// do not lead out of the image, as in a chroot. Errors: fs.ErrNotExist where a container finds none, ErrUnsettled, and
// those of reading the disks.
func (s *Stack) ReadFile(name string, max int64) ([]byte, error) {
	n, err := s.find(name)
	if err != nil {
		return nil, fmt.Errorf("%s in the image: %w", name, err)
	}
	if !n.Mode.IsRegular() || n.Size > max {
		return nil, fmt.Errorf("%s in the image is a %s of %d bytes: %w", name, n.Mode, n.Size, ErrUnsettled)
	}
	b, err := n.Content(max)
	if err != nil {
		return nil, fmt.Errorf("%s in the image: %w", name, unsettled(err))
	}
	return b, nil
}

// find walks to a file that is no folder.
func (s *Stack) find(name string) (*ext4.Node, error) {
	trail := []folder{s.root} // from the root to where the walk is
	rest := strings.Split(name, "/")
	links := 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			trail = trail[:max(len(trail)-1, 1)]
			continue
		case len(part) > maxName:
			return nil, fmt.Errorf("name of %d bytes: %w", len(part), ErrUnsettled)
		}
		in := trail[len(trail)-1]
		merged, n, err := in.child(part)
		switch {
		case err != nil:
			return nil, err
		case merged != nil:
			trail = append(trail, merged)
		case n == nil:
			return nil, fs.ErrNotExist
		case n.Mode&fs.ModeSymlink == 0 && len(rest) > 0: // no folder, but something is asked for in it
			return nil, fs.ErrNotExist
		case n.Mode&fs.ModeSymlink == 0:
			return n, nil
		default:
			to, err := n.Target()
			if err != nil {
				return nil, unsettled(err)
			}
			if links++; links > maxLinks || guarded(in[0].node, n) {
				return nil, fmt.Errorf("link to %q: %w", to, ErrUnsettled)
			}
			if strings.HasPrefix(to, "/") {
				trail = trail[:1]
			}
			rest = append(strings.Split(to, "/"), rest...)
		}
	}
	return nil, fmt.Errorf("a folder: %w", ErrUnsettled)
}

// guarded tells whether fs.protected_symlinks may keep root from following a link in dir.
func guarded(dir, link *ext4.Node) bool {
	return dir.Mode&fs.ModeSticky != 0 && dir.Mode&0o002 != 0 && link.UID != 0
}

// child finds a name in a merged folder, as overlayfs does: the topmost layer that has it says
// what it is, and folders are merged until a layer hides those below. It returns a folder, or what else it
// is, or neither.
func (f folder) child(name string) (folder, *ext4.Node, error) {
	var merged folder
	for _, p := range f {
		c, isOpaque, err := enter(p.layer, p.node, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, nil, unsettled(err)
		case whiteout(c.node):
			return merged, nil, nil
		case !c.node.Mode.IsDir() && merged != nil:
			return merged, nil, nil
		case !c.node.Mode.IsDir():
			return nil, c.node, nil
		}
		merged = append(merged, c)
		if isOpaque {
			break
		}
	}
	return merged, nil, nil
}

// enter opens what a folder of one layer has of a name; fs.ErrNotExist: nothing.
func enter(r *ext4.Reader, dir *ext4.Node, name string) (p place, isOpaque bool, err error) {
	i, err := dir.Lookup(name)
	if err != nil {
		return p, false, err
	}
	n, err := r.Open(i)
	if err != nil {
		return p, false, err
	}
	attrs, err := n.Xattrs()
	if err != nil {
		return p, false, err
	}
	for k, v := range attrs {
		switch {
		case !strings.HasPrefix(k, overlayPrefix):
		case k == opaque && v == opaqueYes && n.Mode.IsDir():
			isOpaque = true
		case k == origin && v == "" && n.Mode.IsDir():
		default:
			return p, false, fmt.Errorf("attribute %s: %w", k, ErrUnsettled)
		}
	}
	return place{r, n}, isOpaque, nil
}

// whiteout tells whether a file stands for none, and hides what is below.
func whiteout(n *ext4.Node) bool {
	return n.Mode&fs.ModeCharDevice != 0 && n.Major == 0 && n.Minor == 0
}
