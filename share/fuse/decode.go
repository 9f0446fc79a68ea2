package fuse

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// ErrMalformed is what a message is that is shorter or longer than it says or must be.
var ErrMalformed = errors.New("malformed message")

var le = binary.LittleEndian

// A Decoder reads a message's parts in order. Past the end it gives zeros.
type Decoder struct {
	b   []byte
	bad bool
}

// NewDecoder returns a Decoder of b, which it keeps.
func NewDecoder(b []byte) Decoder { return Decoder{b: b} }

func (d *Decoder) take(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *Decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return le.Uint16(p)
	}
	return 0
}

func (d *Decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return le.Uint32(p)
	}
	return 0
}

func (d *Decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return le.Uint64(p)
	}
	return 0
}

// Name reads bytes up to a NUL, which must be there, and drops that.
func (d *Decoder) Name() string {
	i := bytes.IndexByte(d.b, 0)
	if i < 0 {
		d.bad, d.b = true, nil
		return ""
	}
	return string(d.take(i + 1)[:i])
}

// Bytes reads n bytes, which are part of the message's buffer.
func (d *Decoder) Bytes(n uint32) []byte {
	if uint64(n) > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	return d.take(int(n))
}

// Rest reads all that is left.
func (d *Decoder) Rest() []byte { return d.take(len(d.b)) }

// Len returns how many bytes are left.
func (d *Decoder) Len() int { return len(d.b) }

// Err returns ErrMalformed when the message ended too soon.
func (d *Decoder) Err() error {
	if d.bad {
		return ErrMalformed
	}
	return nil
}

// End returns ErrMalformed when the message ended too soon or has not ended.
func (d *Decoder) End() error {
	if d.bad || len(d.b) > 0 {
		return ErrMalformed
	}
	return nil
}

// AppendName appends a name and its NUL.
func AppendName(b []byte, name string) []byte { return append(append(b, name...), 0) }

func put(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

func put64(b []byte, v ...uint64) []byte {
	for _, x := range v {
		b = le.AppendUint64(b, x)
	}
	return b
}
