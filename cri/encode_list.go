package cri

import (
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// encoded is an answer, or a message of a stream, that is bytes already. It is good for
// being sent once.
type encoded struct{ bytes mem.BufferSlice }

// chunkBytes is how much of a list is in one buffer. A list of any length needs no more
// memory than it has bytes, and none of it is moved while it grows.
const chunkBytes = 256 << 10

// chunks are buffers that lists are encoded to. Their content is what the last list left:
// gRPC's own pool clears a buffer first, which takes as long as to write the list.
type chunks struct{ free sync.Pool }

var listChunks mem.BufferPool = &chunks{}

// Get implements mem.BufferPool.
func (c *chunks) Get(length int) *[]byte {
	if length <= chunkBytes {
		if b, ok := c.free.Get().(*[]byte); ok {
			*b = (*b)[:length]
			return b
		}
	}
	b := make([]byte, length, max(length, chunkBytes))
	return &b
}

// Put implements mem.BufferPool.
func (c *chunks) Put(b *[]byte) {
	if cap(*b) == chunkBytes {
		c.free.Put(b)
	}
}

// list is a list while it is encoded, item by item.
type list struct {
	pool    mem.BufferPool
	chunk   int // bytes of a buffer
	full    mem.BufferSlice
	buffer  *[]byte // that is filled; nil: none yet
	b       []byte  // what is in it
	largest int     // bytes of an item so far
}

// fewItems is how many are not worth a chunk.
const fewItems = 4

func newList(few bool) *list {
	if few {
		return &list{pool: mem.DefaultBufferPool(), chunk: 4 << 10}
	}
	return &list{pool: listChunks, chunk: chunkBytes}
}

// next returns what the next item is to be appended to, as a field; add gets it back.
func (l *list) next() []byte {
	if need := l.largest + l.largest/4; l.buffer == nil || cap(l.b)-len(l.b) < need {
		l.seal()
		l.buffer = l.pool.Get(max(l.chunk, need))
		l.b = (*l.buffer)[:0]
	}
	return l.b
}

func (l *list) add(b []byte) {
	l.largest = max(l.largest, len(b)-len(l.b))
	l.b = b
	if cap(b) > cap(*l.buffer) { // it had to grow, and is not the pool's any more
		l.pool.Put(l.buffer)
		l.full = append(l.full, mem.SliceBuffer(b))
		l.buffer, l.b = nil, nil
	}
}

// seal puts the buffer that is filled to those that are full.
func (l *list) seal() {
	switch {
	case l.buffer == nil:
		return
	case len(l.b) == 0:
		l.pool.Put(l.buffer)
	default:
		*l.buffer = l.b
		l.full = append(l.full, mem.NewBuffer(l.buffer, l.pool))
	}
	l.buffer, l.b = nil, nil
}

// answer is the list as an answer; nil after an error.
func (l *list) answer(err error) (*encoded, error) {
	l.seal()
	if err != nil {
		l.full.Free()
		return nil, err
	}
	return &encoded{l.full}, nil
}

// inParts sends the list as messages of about partBytes, in order. An empty list is no message.
func (e *encoded) inParts(send func(part any) error) error {
	for all := e.bytes; len(all) > 0; {
		n, size := 0, 0
		for n < len(all) {
			if size += all[n].Len(); n > 0 && size > partBytes {
				break
			}
			n++
		}
		part := all[:n:n]
		all = all[n:]
		if err := send(&encoded{part}); err != nil {
			all.Free()
			return err
		}
	}
	return nil
}

// decoded is an answer as the message that it was encoded of, for callers in this process.
func decoded[M proto.Message](e *encoded, err error, m M) (M, error) {
	var none M
	if err != nil {
		return none, err
	}
	defer e.bytes.Free()
	if err := proto.Unmarshal(e.bytes.Materialize(), m); err != nil {
		return none, err
	}
	return m, nil
}
