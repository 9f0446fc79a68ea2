package hcsemu

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// Bounds of what a process sends.
const (
	maxStrings     = 8
	maxStringBytes = 16 << 20
)

// frame is what goes over a connection: a code and strings. docs: dll/emu.h.
type frame struct {
	code    uint32
	strings []string
}

func readFrame(r io.Reader) (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{code: binary.BigEndian.Uint32(head[:])}
	n := binary.BigEndian.Uint32(head[4:])
	if n > maxStrings {
		return frame{}, fmt.Errorf("frame of %d strings: %w", n, errdefs.ErrInvalidArgument)
	}
	for range n {
		if _, err := io.ReadFull(r, head[:4]); err != nil {
			return frame{}, short(err)
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > maxStringBytes {
			return frame{}, fmt.Errorf("string of %d bytes: %w", size, errdefs.ErrInvalidArgument)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return frame{}, short(err)
		}
		f.strings = append(f.strings, string(b))
	}
	return f, nil
}

// short is an end within a frame.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func writeFrame(w io.Writer, f frame) error {
	b := binary.BigEndian.AppendUint32(nil, f.code)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.strings)))
	for _, s := range f.strings {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	_, err := w.Write(b)
	return err
}
