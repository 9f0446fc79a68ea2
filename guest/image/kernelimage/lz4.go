package kernelimage

import (
	"encoding/binary"
	"errors"
)

// lz4LegacyMagic starts the frame format that the kernel's build uses
// ("lz4 -l"): after it come blocks, each with its packed size in four bytes.
var lz4LegacyMagic = []byte{0x02, 0x21, 0x4c, 0x18}

// lz4BlockMax is what one block of the legacy format unpacks to at most.
const lz4BlockMax = 8 << 20

var errLZ4 = errors.New("malformed LZ4 data")

// unpackLZ4 unpacks the blocks of a legacy frame, into size bytes at most.
func unpackLZ4(src []byte, size int) ([]byte, error) {
	// Not the stated size at once: it is not to be trusted before the data is read.
	out := make([]byte, 0, min(size, 4*len(src)))
	for len(src) > 0 {
		if len(src) < 4 {
			return nil, errLZ4
		}
		n := uint64(binary.LittleEndian.Uint32(src))
		src = src[4:]
		if n == 0 || n > uint64(len(src)) {
			return nil, errLZ4
		}
		var err error
		if out, err = unpackLZ4Block(out, src[:n], min(size, len(out)+lz4BlockMax)); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

// unpackLZ4Block appends one unpacked block to out, which grows to limit
// bytes at most. Matches reach back within the block only.
func unpackLZ4Block(out, src []byte, limit int) ([]byte, error) {
	start := len(out)
	for {
		if len(src) == 0 {
			return nil, errLZ4
		}
		token := src[0]
		src = src[1:]
		literals, rest, ok := lz4Length(int(token>>4), src)
		if !ok || literals > len(rest) || literals > limit-len(out) {
			return nil, errLZ4
		}
		out = append(out, rest[:literals]...)
		src = rest[literals:]
		if len(src) == 0 {
			return out, nil // the last sequence has literals only
		}
		if len(src) < 2 {
			return nil, errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(src))
		match, rest, ok := lz4Length(int(token&15), src[2:])
		match += 4
		if !ok || offset == 0 || offset > len(out)-start || match > limit-len(out) {
			return nil, errLZ4
		}
		src = rest
		// A match may overlap what it makes, so copy at most offset bytes a time.
		for from := len(out) - offset; match > 0; {
			n := min(match, len(out)-from)
			out = append(out, out[from:from+n]...)
			match -= n
		}
	}
}

// lz4Length completes a length of four bits: 15 says that bytes follow which
// add to it, until one that is not 255.
func lz4Length(n int, src []byte) (length int, rest []byte, ok bool) {
	if n < 15 {
		return n, src, true
	}
	for i, b := range src {
		n += int(b)
		if b != 255 {
			return n, src[i+1:], true
		}
	}
	return 0, nil, false
}
