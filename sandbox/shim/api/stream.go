package api

import (
	"fmt"
	"io"
)

// Versions of the shim protocol that this build speaks.
const (
	MinVersion = 1
	MaxVersion = 6 // 2: containers have mounts; 3: Stats; 4: checkpoints; 5: namespaces of pods, PID targets, mapped owners; 6: pods set up in two steps
)

// SessionIDSize is the size of a session's id in bytes.
const SessionIDSize = 16

// SessionID names an exec, attach or port-forward. The client draws it at random.
type SessionID [SessionIDSize]byte

// StreamKind says which stream of a session a connection carries.
type StreamKind byte

// The kinds of streams.
const (
	StreamStdin   StreamKind = 1 // client to shim
	StreamStdout  StreamKind = 2 // shim to client
	StreamStderr  StreamKind = 3 // shim to client
	StreamForward StreamKind = 4 // both ways
)

// streamVersion is the version of the header, its first byte.
const streamVersion = 1

const headerSize = 2 + SessionIDSize

// WriteStreamHeader begins a stream: header version, kind, session id. The stream's
// bytes follow; there is no answer.
func WriteStreamHeader(w io.Writer, id SessionID, kind StreamKind) error {
	b := make([]byte, 0, headerSize)
	b = append(b, streamVersion, byte(kind))
	_, err := w.Write(append(b, id[:]...))
	return err
}

// ReadStreamHeader reads what WriteStreamHeader wrote.
func ReadStreamHeader(r io.Reader) (id SessionID, kind StreamKind, err error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return id, 0, err
	}
	if b[0] != streamVersion {
		return id, 0, fmt.Errorf("stream header of version %d", b[0])
	}
	kind = StreamKind(b[1])
	if kind < StreamStdin || kind > StreamForward {
		return id, 0, fmt.Errorf("stream of unknown kind %d", b[1])
	}
	return SessionID(b[2:]), kind, nil
}
