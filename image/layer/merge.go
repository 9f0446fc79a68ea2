package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/image/layer/ext4"
)

// DefaultMaxMerged bounds what Merge takes, in bytes. See MergeOptions.
const DefaultMaxMerged = 64 << 20

// mergedEntries bounds the names in what is merged: trees of two layers are held at once,
// where Convert holds one.
const mergedEntries = 1 << 18

// Part is one of the layers that are merged.
type Part struct {
	Source Source
	DiffID digest.Digest // that its plain tar must have
}

// MergeOptions bounds a merge, and says where its result is to be.
type MergeOptions struct {
	// Lowest says that nothing lies below the layers in their image: what would hide
	// something there is left out.
	Lowest bool
	// MaxBytes bounds the plain tars of all layers, and the contents of their files (holes
	// count), in bytes. Zero: DefaultMaxMerged.
	MaxBytes int64
	// MaxSize is the largest file system to write, in bytes. Zero: DefaultMaxSize.
	MaxSize int64
}

// MergedID is the id of what Merge makes of layers, bottom first.
func MergedID(diffIDs []digest.Digest, lowest bool) digest.Digest {
	var b strings.Builder
	fmt.Fprintf(&b, "porthole merged layers\nformat %d\nlowest %v\n", Format, lowest)
	for _, d := range diffIDs {
		fmt.Fprintln(&b, d)
	}
	return digest.FromString(b.String())
}

// Merge writes layers, bottom first, as one to f, as Convert does. In a stack of layers it
// shows and hides what they do one on another, as overlayfs has it. The sources are read
// twice; no layer is held in memory, only names. It does not sync f. Result.DiffID is the
// MergedID.
//
// Errors: InvalidArgument when a layer is at fault or the layers are beyond the bounds,
// FailedPrecondition when a layer has not its diff ID (converted one by one, layers tell
// which is at fault, and may do); others as those of Convert. What f holds after an error
// is of no use.
func Merge(ctx context.Context, parts []Part, f *os.File, opts MergeOptions) (Result, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxMerged
	}
	if opts.MaxSize == 0 {
		opts.MaxSize = DefaultMaxSize
	}
	ids := make([]digest.Digest, len(parts))
	for i, p := range parts {
		ids[i] = p.DiffID
	}
	res := Result{DiffID: MergedID(ids, opts.Lowest), Twice: true}
	s, err := stackLayers(ctx, parts, opts)
	if err != nil {
		return Result{}, mergeError(err)
	}
	res.TarBytes = s.tarBytes
	out := &sparseFile{f: f}
	size, err := s.write(ctx, parts, out, opts)
	if err == nil {
		res.Size, err = out.end(size, res.DiffID)
	}
	if err != nil {
		return Result{}, fileError(f, mergeError(err))
	}
	return res, nil
}

// mergeError gives errors a kind that have none yet.
func mergeError(err error) error {
	if errors.Is(err, errTooLong) || errors.Is(err, errTooMany) {
		return fmt.Errorf("%w to be merged: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

// stack is the tree of several layers that lie one on another.
type stack struct {
	t        *tree
	lowest   bool
	tarBytes int64
	content  int64   // of files, also of those that are hidden
	begins   []int32 // the number that the first entry of each layer has in t
	entries  int32   // of all layers so far
}

// stackLayers reads layers for the first time.
func stackLayers(ctx context.Context, parts []Part, opts MergeOptions) (*stack, error) {
	t, err := newTree(mergedEntries)
	if err != nil {
		return nil, err
	}
	s := &stack{t: t, lowest: opts.Lowest}
	for i, p := range parts {
		norm, err := newNormalizer(mergedEntries)
		if err != nil {
			return nil, err
		}
		// One more byte than there is room for, as no bound at all is 0.
		_, n, err := readPlain(ctx, p.Source, p.DiffID, opts.MaxBytes-s.tarBytes+1, func(r io.Reader) error { return norm.scan(r, nil) })
		s.tarBytes += n
		s.content += norm.content
		if err == nil || errors.Is(err, errOutOfOrder) { // what it tells without a writer
			err = nil
			if s.tarBytes > opts.MaxBytes || s.content > opts.MaxBytes {
				err = errTooLong
			}
		}
		if err == nil {
			err = s.add(norm.t)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(parts), err)
		}
	}
	return s, nil
}

// write reads layers for the second time and writes the file system, of whose size it
// returns.
func (s *stack) write(ctx context.Context, parts []Part, out *sparseFile, opts MergeOptions) (int64, error) {
	w, err := ext4.NewWriter(out, &s.t.names, opts.MaxSize)
	if err != nil {
		return 0, err
	}
	norm := &normalizer{t: s.t, w: w}
	names, err := norm.skeleton()
	if err != nil {
		return 0, writeError(err)
	}
	for i, p := range parts {
		_, _, err := readPlain(ctx, p.Source, p.DiffID, s.tarBytes, func(r io.Reader) (err error) {
			names, err = norm.contents(r, s.begins[i], names)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("layer %d of %d: %w", i+1, len(parts), err)
		}
	}
	return closeWriter(w)
}

// add puts a layer on the stack, by the rules by which overlayfs looks names up: the topmost
// layer that has a name decides, and folders, with whatever is said of them, are joined
// down to the first layer where the name is something else.
func (s *stack) add(from *tree) error {
	s.begins = append(s.begins, s.entries)
	l := &laying{stack: s, from: from, files: map[fileID]fileID{}}
	l.sorted, l.at = from.sorted()
	// Overlayfs joins the roots of all layers, whatever they say.
	if err := l.folder(rootNode, rootNode); err != nil {
		return err
	}
	s.entries += from.entries
	return nil
}

// laying is the work of putting one layer on a stack.
type laying struct {
	*stack
	from   *tree
	sorted []nodeID // of from, see tree.sorted
	at     []uint32
	files  map[fileID]fileID // from's files that have names in the stack
}

// folder lays a folder of the layer on one of the stack.
func (l *laying) folder(from, to nodeID) error {
	*l.t.attr(to) = *l.from.attr(from)
	for _, c := range l.sorted[l.at[from]:l.at[from+1]] {
		if err := l.child(c, to); err != nil {
			return err
		}
	}
	return nil
}

// child lays a name of the layer on a folder of the stack.
func (l *laying) child(c, dir nodeID) error {
	f := l.from.file(c)
	name := string(l.from.names.Bytes(l.from.node(c).name))
	old, have := l.t.child(dir, name)
	if have && f.kind == kindFolder && !f.opaque && l.t.file(old).kind == kindFolder {
		return l.folder(c, old)
	}
	if have {
		l.t.remove(old)
	}
	switch f.kind {
	case kindWhiteout, kindNull:
		if l.lowest {
			return nil
		}
		l.t.file(dir).veiled = true
		_, err := l.t.add(dir, name, l.t.addFile(inode{kind: kindWhiteout}))
		return err
	case kindFolder:
		// Whatever the stack had of that name hides what is below the stack.
		made, err := l.t.add(dir, name, l.t.addFolder(!l.lowest && (f.opaque || have)))
		if err != nil {
			return err
		}
		return l.folder(c, made)
	}
	id := l.from.node(c).file
	to, ok := l.files[id]
	if !ok {
		laid := inode{kind: f.kind, source: l.entries + f.source}
		if f.kind == kindSymlink {
			target, err := l.t.names.Add(string(l.from.names.Bytes(ext4.Name(f.detail))))
			if err != nil {
				return err
			}
			laid.detail = uint32(target)
		}
		to = l.t.addFile(laid)
		l.files[id] = to
	}
	_, err := l.t.add(dir, name, to)
	return err
}
