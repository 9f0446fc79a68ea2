package streaming

import (
	"context"
	"io"
)

// An Executor does what clients ask for. Methods are called concurrently. When ctx ends
// they must stop what they started and return; the server's end waits for that.
type Executor interface {
	// Exec runs a command in a container and returns its exit code when it has exited
	// and its output was written. An error means that it did not run to its end.
	Exec(ctx context.Context, containerID string, cmd []string, s Streams) (exitCode int, err error)
	// Attach joins the streams of a container's process until it exits or ctx ends.
	Attach(ctx context.Context, containerID string, s Streams) error
	// PortForward relays conn to a TCP port in a pod until both directions have ended,
	// or either end fails. Reading io.EOF means that the client has no more to send, but
	// may still read. Conn also has CloseWrite() error, to tell the client the same.
	PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error
}

// Streams are the client's ends of a process's streams; nil: not wanted.
type Streams struct {
	// Stdin returns io.EOF when the client closed it.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// Resize tells the terminal's sizes and is closed when no more will come. It is nil
	// without TTY.
	Resize <-chan Size
}

// Size is a terminal's size in characters.
type Size struct{ Width, Height uint16 }
