package fuse

import (
	"bufio"
	"fmt"
	"io"
)

// Sizes of the headers.
const (
	InHeaderSize  = 40
	OutHeaderSize = 16
)

// InHeader begins each message to the server.
type InHeader struct {
	Len        uint32 // of the whole message
	Opcode     Opcode
	Unique     uint64 // names the request in its reply
	NodeID     uint64
	UID, GID   uint32
	PID        uint32 // thread
	ExtLen     uint16 // of extensions, in 8 bytes
	unusedTail uint16
}

// Append appends the header.
func (h InHeader) Append(b []byte) []byte {
	b = put(b, h.Len, uint32(h.Opcode))
	b = put64(b, h.Unique, h.NodeID)
	b = put(b, h.UID, h.GID, h.PID)
	b = le.AppendUint16(b, h.ExtLen)
	return le.AppendUint16(b, h.unusedTail)
}

// Decode reads the header.
func (h *InHeader) Decode(d *Decoder) {
	*h = InHeader{Len: d.u32(), Opcode: Opcode(d.u32()), Unique: d.u64(), NodeID: d.u64(),
		UID: d.u32(), GID: d.u32(), PID: d.u32(), ExtLen: d.u16(), unusedTail: d.u16()}
}

// OutHeader begins each message from the server.
type OutHeader struct {
	Len    uint32
	Error  int32  // 0 or a negative errno; when Unique is 0 a NotifyCode
	Unique uint64 // of the request
}

// Append appends the header.
func (h OutHeader) Append(b []byte) []byte {
	b = put(b, h.Len, uint32(h.Error))
	return put64(b, h.Unique)
}

// Decode reads the header.
func (h *OutHeader) Decode(d *Decoder) {
	*h = OutHeader{Len: d.u32(), Error: int32(d.u32()), Unique: d.u64()}
}

// SetLen writes the length of a whole message over its first four bytes.
func SetLen(b []byte) { le.PutUint32(b, uint32(len(b))) }

// A Reader cuts a stream into frames. It must be used by one goroutine at a time.
type Reader struct {
	r        *bufio.Reader
	min, max uint32
}

// NewReader returns a Reader of frames of min to max bytes.
func NewReader(r io.Reader, min, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), min: uint32(min), max: uint32(max)}
}

// Next reads one frame into a buffer that alloc makes, of the frame's length or longer.
// It is io.EOF at a stream's end between frames, io.ErrUnexpectedEOF within one, and
// wraps ErrMalformed for a length that is out of bounds.
func (r *Reader) Next(alloc func(n int) []byte) ([]byte, error) {
	head, err := r.r.Peek(4)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n := le.Uint32(head)
	if n < r.min || n > r.max {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrMalformed, n)
	}
	b := alloc(int(n))[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	return b, nil
}
