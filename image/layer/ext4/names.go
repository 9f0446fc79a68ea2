package ext4

import (
	"encoding/binary"
	"errors"
)

const (
	// chunkBits is the size of an arena's chunk. Nothing lies across two of them.
	chunkBits = 18
	chunkMask = 1<<chunkBits - 1
	// maxChunks bounds a Names to 1 GiB.
	maxChunks = 1 << (30 - chunkBits)
	// MaxName is the longest string that Names takes, in bytes.
	MaxName = 4095
)

// ErrNamesFull is that a Names has no more room.
var ErrNamesFull = errors.New("names are longer than 1 GiB in all")

// Name is a string in a Names.
type Name uint32

// Names holds strings that stay until the end, without a pointer for each. Its zero value
// is empty. It takes 1 GiB at most.
type Names struct {
	chunks [][]byte
}

// Add keeps a copy of s, which is MaxName bytes long at most, or returns ErrNamesFull.
func (n *Names) Add(s string) (Name, error) {
	last := len(n.chunks) - 1
	if last < 0 || len(n.chunks[last])+2+len(s) > 1<<chunkBits {
		if len(n.chunks) == maxChunks {
			return 0, ErrNamesFull
		}
		n.chunks = append(n.chunks, make([]byte, 0, 1<<chunkBits))
		last++
	}
	at := len(n.chunks[last])
	c := binary.LittleEndian.AppendUint16(n.chunks[last], uint16(len(s)))
	n.chunks[last] = append(c, s...)
	return Name(last<<chunkBits | at), nil
}

// Bytes returns a string of Add, which must not be changed.
func (n *Names) Bytes(name Name) []byte {
	b := n.chunks[name>>chunkBits][name&chunkMask:]
	size := binary.LittleEndian.Uint16(b)
	return b[2 : 2+size]
}

// List is a slice that grows without being copied. Its zero value is empty.
type List[T any] struct {
	chunks [][]T
	len    int
}

const listChunk = 4096

// Append adds v and returns its index.
func (l *List[T]) Append(v T) int {
	if l.len%listChunk == 0 {
		l.chunks = append(l.chunks, make([]T, 0, listChunk))
	}
	last := len(l.chunks) - 1
	l.chunks[last] = append(l.chunks[last], v)
	l.len++
	return l.len - 1
}

// At returns the place of an element, which stays the same.
func (l *List[T]) At(i int) *T { return &l.chunks[i/listChunk][i%listChunk] }

// Len is the number of elements.
func (l *List[T]) Len() int { return l.len }
