package layer

import (
	"errors"
	"io"
	"sync"
)

const (
	chunkSize  = 128 << 10
	chunkCount = 4
)

// errReaderGone is what writers of a pipe get once its reader has gone.
var errReaderGone = errors.New("reader of the pipe has gone")

// pipe carries bytes from one goroutine to another through a few chunks, so that
// both sides run at the same time. io.Pipe would hand over every single read.
type pipe struct {
	full chan []byte
	free chan []byte
	gone chan struct{} // closed when the reader is done
	seen io.Writer     // gets what the reader gets, from its goroutine; nil: nobody
	once sync.Once
	werr error // set before full is closed

	out  []byte // writer's: the chunk being filled
	in   []byte // reader's: the chunk being read
	rest []byte // reader's: what is unread of in
}

func newPipe() *pipe {
	p := &pipe{
		full: make(chan []byte, chunkCount),
		free: make(chan []byte, chunkCount),
		gone: make(chan struct{}),
	}
	for range chunkCount {
		p.free <- nil
	}
	return p
}

// Write is for the writing goroutine only.
func (p *pipe) Write(b []byte) (int, error) {
	n := 0
	for len(b) > 0 {
		if p.out == nil {
			select {
			case p.out = <-p.free:
			case <-p.gone:
				return n, errReaderGone
			}
			if p.out == nil {
				p.out = make([]byte, 0, chunkSize)
			}
		}
		k := copy(p.out[len(p.out):cap(p.out)], b)
		p.out = p.out[:len(p.out)+k]
		b = b[k:]
		n += k
		if len(p.out) == cap(p.out) {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *pipe) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	select {
	case p.full <- p.out:
		p.out = nil
		return nil
	case <-p.gone:
		return errReaderGone
	}
}

// finish ends the stream: the reader gets what was written, then err, or io.EOF
// when err is nil. It must be called once, by the writing goroutine.
func (p *pipe) finish(err error) {
	if ferr := p.flush(); err == nil {
		err = ferr
	}
	p.werr = err
	close(p.full)
}

// Read is for the reading goroutine only.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.in != nil {
			p.free <- p.in[:0] // never blocks: there are chunkCount chunks
			p.in = nil
		}
		chunk, ok := <-p.full
		if !ok {
			if p.werr != nil {
				return 0, p.werr
			}
			return 0, io.EOF
		}
		p.in, p.rest = chunk, chunk
		if p.seen != nil {
			if _, err := p.seen.Write(chunk); err != nil {
				return 0, err
			}
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// leave tells the writer that nobody reads any more.
func (p *pipe) leave() { p.once.Do(func() { close(p.gone) }) }
