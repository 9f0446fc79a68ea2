package layer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory that a zstd frame may ask for.
const maxZstdWindow = 128 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// skippableMagic starts the frames that zstd:chunked puts around its data; the
	// low four bits of the first byte are free.
	skippableMagic = []byte{0x2a, 0x4d, 0x18}
)

// Decompress returns the plain bytes of r, which may be gzip, zstd or not
// compressed; the first bytes tell. Closing the result does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, chunkSize)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, badStream("gzip", err)
		}
		return &decompressor{Reader: z, format: "gzip", close: z.Close}, nil
	case bytes.HasPrefix(magic, zstdMagic),
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], skippableMagic):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxZstdWindow),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, badStream("zstd", err)
		}
		return &decompressor{Reader: z, format: "zstd", close: func() error { z.Close(); return nil }}, nil
	}
	return io.NopCloser(br), nil
}

type decompressor struct {
	io.Reader
	format string
	close  func() error
}

func (d *decompressor) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = badStream(d.format, err)
	}
	return n, err
}

func (d *decompressor) Close() error { return d.close() }

func badStream(format string, err error) error {
	return fmt.Errorf("read %s stream: %w: %w", format, errdefs.ErrInvalidArgument, err)
}

// ctxReader ends a stream when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// errTooLong ends a stream that is longer than its reader wants it.
var errTooLong = errors.New("layer is too long")

// boundedReader ends a stream with errTooLong where more than room bytes come.
type boundedReader struct {
	r    io.Reader
	room int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.room -= int64(n); b.room < 0 {
		return 0, errTooLong
	}
	return n, err
}
