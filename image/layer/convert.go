package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/image/layer/ext4"
	"github.com/porthole-run/porthole/internal/diskfull"
)

// Defaults of Options.
const (
	DefaultMaxSize    = 128 << 30
	DefaultMaxEntries = 2_000_000
)

// Format is raised when layers made before would be read wrong: by what Convert writes,
// or by what a guest expects. 1 had the image's root at that of the file system, 2 had
// wrong times for files from before 1970 or after 2037.
const Format = 3

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
	norm, err := newNormalizer(opts.MaxEntries)
	if err != nil {
		return Result{}, err
	}
	c := &conversion{opts: opts, src: src, out: &sparseFile{f: f}, norm: norm}
	res, err := c.run(ctx)
	if err != nil {
		return Result{}, fileError(f, err)
	}
	return res, nil
}

// fileError names the file that a full disk had no room for.
func fileError(f *os.File, err error) error {
	if diskfull.Is(err) {
		return fmt.Errorf("write %s: %w: %w", f.Name(), errdefs.ErrResourceExhausted, err)
	}
	return err
}

type conversion struct {
	opts Options
	src  Source
	out  *sparseFile
	norm *normalizer
}

func (c *conversion) run(ctx context.Context) (Result, error) {
	var res Result
	size, err := c.pass(ctx, &res, c.norm.scan)
	if errors.Is(err, errOutOfOrder) {
		first := res.DiffID
		if err := c.out.reset(); err != nil {
			return res, err
		}
		size, err = c.pass(ctx, &res, c.norm.replay)
		if err == nil && res.DiffID != first {
			err = fmt.Errorf("layer changed from %s to %s between two readings: %w",
				first, res.DiffID, errdefs.ErrFailedPrecondition)
		}
		res.Twice = true
	}
	if err != nil {
		return res, err
	}
	res.Size, err = c.out.end(size, res.DiffID)
	return res, err
}

// pass reads the layer once: normalize puts the entries in order and writes the file
// system, whose size is returned. With errOutOfOrder the digest is known and the file
// system is not whole.
func (c *conversion) pass(ctx context.Context, res *Result, normalize func(io.Reader, *ext4.Writer) error) (int64, error) {
	w, err := ext4.NewWriter(c.out, &c.norm.t.names, c.opts.MaxSize)
	if err != nil {
		return 0, err
	}
	res.DiffID, res.TarBytes, err = readPlain(ctx, c.src, c.opts.DiffID, 0, func(r io.Reader) error { return normalize(r, w) })
	if err != nil {
		return 0, err
	}
	return closeWriter(w)
}

// closeWriter ends a file system and returns its size.
func closeWriter(w *ext4.Writer) (int64, error) {
	size, err := w.Close()
	if err != nil {
		return 0, writeError(err)
	}
	return size, nil
}

// readPlain lets do read a layer's plain bytes, which one goroutine decompresses while the
// caller's hashes them and does. It returns their digest, which must be want unless that is
// empty, and how many there are: more than most, unless that is 0, are errTooLong. An
// errOutOfOrder of do is returned with the digest, which is checked before.
func readPlain(ctx context.Context, src Source, want digest.Digest, most int64, do func(io.Reader) error) (digest.Digest, int64, error) {
	raw, err := src(ctx)
	if err != nil {
		return "", 0, err
	}
	defer raw.Close()
	unpacked, err := Decompress(ctxReader{ctx, raw})
	if err != nil {
		return "", 0, err
	}
	defer unpacked.Close()
	plain := io.Reader(unpacked)
	if most > 0 {
		plain = &boundedReader{r: unpacked, room: most}
	}

	digester := digest.Canonical.Digester()
	in := newPipe()
	in.seen = digester.Hash()
	var reader sync.WaitGroup
	var n int64
	var readErr error
	reader.Go(func() {
		n, readErr = io.CopyBuffer(struct{ io.Writer }{in}, plain, make([]byte, chunkSize))
		in.finish(readErr)
	})
	err = do(in)
	if err == nil || errors.Is(err, errOutOfOrder) {
		// What follows the end of the tar belongs to the digest.
		if _, derr := io.Copy(io.Discard, in); derr != nil {
			err = derr
		}
	}
	in.leave()
	reader.Wait()

	switch {
	case readErr != nil && !errors.Is(readErr, errReaderGone): // the reason of all else
		return "", n, fmt.Errorf("read layer: %w", readErr)
	case err != nil && !errors.Is(err, errOutOfOrder):
		return "", n, err
	}
	got := digester.Digest()
	if want != "" && got != want {
		return got, n, fmt.Errorf("layer is %s, its image says %s: %w", got, want, errdefs.ErrFailedPrecondition)
	}
	return got, n, err
}

// writeError gives errors of the ext4 writer a kind: what the disk did not take is
// not the image's fault, all else is.
func writeError(err error) error {
	if isStreamError(err) {
		return fmt.Errorf("write ext4: %w", err)
	}
	return fmt.Errorf("write ext4: %w: %w", err, errdefs.ErrInvalidArgument)
}

// isStreamError tells errors of the streams around an entry, and of the disk, from those
// of the entry.
func isStreamError(err error) bool {
	var perr *fs.PathError
	return errors.As(err, &perr) || errors.Is(err, errReaderGone) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errdefs.IsInvalidArgument(err)
}
