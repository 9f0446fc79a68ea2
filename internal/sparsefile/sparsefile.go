package sparsefile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// What Unpack says of a pack, beside the errors of reading and writing.
var (
	ErrDamaged  = errors.New("the pack is damaged")
	ErrTooLarge = errors.New("the file would be too large")
)

// magic begins a pack and names its format. Integers are little endian.
//
//	magic, size of the file u64, then for each piece: offset u64, length u64, its bytes;
//	then an offset that is the file's size and a length of 0.
const magic = "PORTHOLE-SPARSE1"

// block is what pieces are made of.
const block = 64 << 10

// maxPiece bounds a piece, so that a pack that lies about one is soon found out.
const maxPiece = 16 << 20

var zeros [block]byte

// Pack writes the content of src to w.
func Pack(ctx context.Context, w io.Writer, src *os.File) error {
	st, err := src.Stat()
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	p := &packer{w: w, src: src, size: st.Size(), buf: make([]byte, 0, maxPiece)}
	err = p.run(ctx)
	if err != nil {
		return fmt.Errorf("pack %s: %w", src.Name(), err)
	}
	return nil
}

// Copy fills the empty file dst with the content of src. Holes stay ones, and whole blocks of
// zeros become them.
func Copy(dst, src *os.File) error {
	st, err := src.Stat()
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	for at := int64(0); at < st.Size(); {
		start, end, err := nextData(src, at, st.Size())
		if err != nil {
			return fmt.Errorf("copy %s: find data: %w", src.Name(), err)
		}
		if err := copyPiece(dst, src, start, end); err != nil {
			return fmt.Errorf("copy %s: %w", src.Name(), err)
		}
		at = end
	}
	return dst.Truncate(st.Size())
}

// copyPiece copies what lies between two offsets, but for blocks of zeros.
func copyPiece(dst, src *os.File, at, end int64) error {
	var buf [block]byte
	for at < end {
		b := buf[:min(end, at-at%block+block)-at]
		if _, err := src.ReadAt(b, at); err != nil {
			return err
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			if _, err := dst.WriteAt(b, at); err != nil {
				return err
			}
		}
		at += int64(len(b))
	}
	return nil
}

type packer struct {
	w    io.Writer
	src  *os.File
	size int64
	buf  []byte // the piece
	at   int64  // where it begins
}

func (p *packer) run(ctx context.Context) error {
	if _, err := io.WriteString(p.w, magic); err != nil {
		return err
	}
	if err := p.number(p.size); err != nil {
		return err
	}
	for at := int64(0); at < p.size; {
		start, end, err := nextData(p.src, at, p.size)
		if err != nil {
			return err
		}
		at = start / block * block // of a block, all or nothing
		for at < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			if at, err = p.block(at); err != nil {
				return err
			}
		}
		if start == p.size {
			break
		}
	}
	if err := p.flush(); err != nil {
		return err
	}
	return errors.Join(p.number(p.size), p.number(0))
}

// block adds the block at an offset, unless it is zero, and returns where the next begins.
func (p *packer) block(at int64) (int64, error) {
	n := int(min(block, p.size-at))
	if len(p.buf) > 0 && (p.at+int64(len(p.buf)) != at || len(p.buf)+n > maxPiece) {
		if err := p.flush(); err != nil {
			return at, err
		}
	}
	had := len(p.buf)
	b := p.buf[had : had+n]
	if _, err := p.src.ReadAt(b, at); err != nil {
		return at, err
	}
	if !bytes.Equal(b, zeros[:n]) {
		if had == 0 {
			p.at = at
		}
		p.buf = p.buf[:had+n]
	}
	return at + int64(n), nil
}

func (p *packer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	if err := errors.Join(p.number(p.at), p.number(int64(len(p.buf)))); err != nil {
		return err
	}
	_, err := p.w.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

func (p *packer) number(n int64) error {
	_, err := p.w.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return err
}

// Unpack fills the empty file dst with what Pack wrote. It reads to the end of the pack, and
// what follows that is an error, as is a pack that is cut short: ErrDamaged. A file of more
// than limit bytes is ErrTooLarge.
func Unpack(ctx context.Context, dst *os.File, r io.Reader, limit int64) error {
	if err := unpack(ctx, dst, bufio.NewReaderSize(r, block), limit); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it is cut short: %w", ErrDamaged)
		}
		return fmt.Errorf("unpack to %s: %w", dst.Name(), err)
	}
	return nil
}

func unpack(ctx context.Context, dst *os.File, r *bufio.Reader, limit int64) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if string(head) != magic {
		return fmt.Errorf("it begins with %.16q: %w", head, ErrDamaged)
	}
	size, err := number(r)
	if err != nil {
		return err
	}
	if size > uint64(limit) {
		return fmt.Errorf("a file of %d bytes, more than %d: %w", size, limit, ErrTooLarge)
	}
	if err := dst.Truncate(int64(size)); err != nil {
		return err
	}
	for last := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, err := number(r)
		if err != nil {
			return err
		}
		n, err := number(r)
		switch {
		case err != nil:
			return err
		case at == size && n == 0:
			if _, err := r.ReadByte(); err != io.EOF {
				return errors.Join(err, fmt.Errorf("something follows its end: %w", ErrDamaged))
			}
			return nil
		case n == 0 || n > maxPiece || at < last || at > size || n > size-at:
			return fmt.Errorf("piece of %d bytes at %d of %d: %w", n, at, size, ErrDamaged)
		}
		if _, err := io.CopyN(io.NewOffsetWriter(dst, int64(at)), r, int64(n)); err != nil {
			return err
		}
		last = at + n
	}
}

func number(r io.Reader) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}
