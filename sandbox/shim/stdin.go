package shim

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"
)

// input merges what attached clients write into a container's stdin. One goroutine
// writes to the guest, so that a client whose bytes the container does not take can
// still go away.
type input struct {
	conn   net.Conn
	chunks chan []byte
	close  chan struct{} // closed when stdin is to be closed
	once   sync.Once
	done   chan struct{} // closed when the goroutine has ended
}

func newInput(conn net.Conn) *input {
	return &input{conn: conn, chunks: make(chan []byte), close: make(chan struct{}), done: make(chan struct{})}
}

// run writes until closeWrite, or until the stream breaks.
func (i *input) run() {
	defer close(i.done)
	for {
		select {
		case p := <-i.chunks:
			if _, err := i.conn.Write(p); err != nil {
				return
			}
		case <-i.close:
			closeWrite(i.conn)
			return
		}
	}
}

// closeWrite closes the container's stdin. It may be called again.
func (i *input) closeWrite() { i.once.Do(func() { close(i.close) }) }

// copyFrom passes on what comes from src until its end or ctx's.
func (i *input) copyFrom(ctx context.Context, src io.Reader) error {
	for {
		buf := make([]byte, copyBuffer) // handed over with each chunk
		n, err := src.Read(buf)
		if n > 0 {
			select {
			case i.chunks <- buf[:n]:
			case <-i.done:
				return errdefs.ErrUnavailable
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// closeWrite ends the writing half of c, or all of it when it has no halves.
func closeWrite(c io.Closer) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}
