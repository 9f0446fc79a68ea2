package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/internal/diskfull"
)

// Defaults of Options.
const (
	DefaultMaxSize    = 128 << 30
	DefaultMaxEntries = 2_000_000
)

// Format is raised when layers made before would be read wrong: by what Convert writes,
// or by what a guest expects. 1 had the image's root at that of the file system.
const Format = 2

// Root is the folder of a layer's file system that holds what the image has in its root.
const Root = "root"

// Source opens a layer's bytes from their start. It may be asked twice.
type Source func(ctx context.Context) (io.ReadCloser, error)

// Options bounds a conversion.
type Options struct {
	// DiffID is the digest that the plain tar must have. Empty: not checked.
	DiffID digest.Digest
	// MaxSize is the largest file system to write, in bytes. Zero: DefaultMaxSize.
	MaxSize int64
	// MaxEntries bounds the names in a layer. Zero: DefaultMaxEntries.
	MaxEntries int
}

// Result is what a conversion found.
type Result struct {
	DiffID   digest.Digest
	TarBytes int64 // of the plain tar
	Size     int64 // of the VHD, with its footer
	Twice    bool  // the layer had to be read a second time
}

// Convert writes the layer that src opens to f, which must be empty and open for
// reading and writing, as an ext4 file system in a fixed VHD. It does not sync f.
//
// Errors: InvalidArgument when the layer is at fault (they name the entry),
// FailedPrecondition when its digest is not opts.DiffID, ResourceExhausted when the
// disk is full (they name the path), the context's cause when it ended. What f holds
// after an error is of no use.
func Convert(ctx context.Context, src Source, f *os.File, opts Options) (Result, error) {
	if opts.MaxSize == 0 {
		opts.MaxSize = DefaultMaxSize
	}
	if opts.MaxEntries == 0 {
		opts.MaxEntries = DefaultMaxEntries
	}
	c := &conversion{opts: opts, src: src, out: &sparseFile{f: f}, norm: newNormalizer(opts.MaxEntries)}
	res, err := c.run(ctx)
	if err != nil {
		if diskfull.Is(err) {
			err = fmt.Errorf("write %s: %w: %w", f.Name(), errdefs.ErrResourceExhausted, err)
		}
		return Result{}, err
	}
	return res, nil
}

type conversion struct {
	opts Options
	src  Source
	out  *sparseFile
	norm *normalizer
}

func (c *conversion) run(ctx context.Context) (Result, error) {
	var res Result
	err := c.pass(ctx, &res, c.norm.scan)
	if errors.Is(err, errOutOfOrder) {
		first := res.DiffID
		if err := c.out.reset(); err != nil {
			return res, err
		}
		err = c.pass(ctx, &res, func(r io.Reader, w io.Writer, _ func()) error { return c.norm.replay(r, w) })
		if err == nil && res.DiffID != first {
			err = fmt.Errorf("layer changed from %s to %s between two readings: %w",
				first, res.DiffID, errdefs.ErrFailedPrecondition)
		}
		res.Twice = true
	}
	if err != nil {
		return res, err
	}
	size, err := c.out.Seek(0, io.SeekCurrent)
	if err != nil {
		return res, err
	}
	if err := padBitmaps(c.out.f); err != nil {
		return res, err
	}
	foot := footer(size, res.DiffID)
	if _, err := c.out.f.WriteAt(foot, size); err != nil {
		return res, err
	}
	res.Size = size + FooterSize
	return res, nil
}

// pass reads the layer once: one goroutine decompresses, one hashes and puts the tar in
// order, one writes the file system.
func (c *conversion) pass(ctx context.Context, res *Result, normalize func(io.Reader, io.Writer, func()) error) error {
	raw, err := c.src(ctx)
	if err != nil {
		return err
	}
	defer raw.Close()
	plain, err := Decompress(ctxReader{ctx, raw})
	if err != nil {
		return err
	}
	defer plain.Close()

	digester := digest.Canonical.Digester()
	in, out := newPipe(), newPipe()
	in.seen = digester.Hash()
	// The reasons why a stage ends early are told apart by who saw them first: what
	// follows from an earlier failure is errReaderGone or the same error.
	var g errgroup.Group
	var readErr, normErr, writeErr error
	g.Go(func() error {
		res.TarBytes, readErr = io.CopyBuffer(struct{ io.Writer }{in}, plain, make([]byte, chunkSize))
		in.finish(readErr)
		return nil
	})
	g.Go(func() error {
		defer in.leave()
		normErr = normalize(in, out, out.leave)
		if normErr == nil || errors.Is(normErr, errOutOfOrder) {
			// What follows the end of the tar belongs to the digest.
			if _, err := io.Copy(io.Discard, in); err != nil {
				normErr = err
			}
		}
		out.finish(normErr)
		return nil
	})
	g.Go(func() error {
		defer out.leave()
		writeErr = tar2ext4.ConvertTarToExt4(out, c.out, tar2ext4.MaximumDiskSize(c.opts.MaxSize))
		return nil
	})
	_ = g.Wait()

	switch {
	case readErr != nil && !errors.Is(readErr, errReaderGone):
		return fmt.Errorf("read layer: %w", readErr)
	case normErr != nil && !errors.Is(normErr, errReaderGone):
		if !errors.Is(normErr, errOutOfOrder) {
			return normErr
		}
	case writeErr != nil:
		return writeError(writeErr)
	}
	res.DiffID = digester.Digest()
	if want := c.opts.DiffID; want != "" && res.DiffID != want {
		return fmt.Errorf("layer is %s, its image says %s: %w", res.DiffID, want, errdefs.ErrFailedPrecondition)
	}
	return normErr
}

// writeError gives errors of the ext4 writer a kind: what the disk did not take is
// not the image's fault, all else is.
func writeError(err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return fmt.Errorf("write ext4: %w", err)
	}
	return fmt.Errorf("write ext4: %w: %w", err, errdefs.ErrInvalidArgument)
}

// isStreamError tells errors of the streams around an entry from those of the entry.
func isStreamError(err error) bool {
	return errors.Is(err, errReaderGone) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errdefs.IsInvalidArgument(err)
}
