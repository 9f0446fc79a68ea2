package api

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// Versions of the agent protocol that this build speaks.
const (
	MinVersion = 1
	MaxVersion = 4 // 2: namespaces of pods, PID namespaces of other containers, mapped owners; 3: pods made in two steps; 4: scratch disks mounted ahead
)

// Ports of the agent. On Hyper-V they are hvsock (AF_VSOCK) ports; on a mux (QEMU) the
// dialling side writes the port as 4 bytes, big endian, at the head of each stream.
const (
	// PortControl carries ttrpc: the Guest service.
	PortControl = 1024
	// PortStdio carries one stdio stream, after a StdioHeader.
	PortStdio = 1025
	// PortForward carries one forwarded TCP connection, after a ForwardHeader and its reply.
	PortForward = 1026
	// PortShare carries the FUSE messages of one share, after a ShareHeader.
	PortShare = 1027
)

// RuntimeVersionFile is where the initrd says which OCI runtime it has: to ask the program
// takes longer than to start a container with it.
const RuntimeVersionFile = "/lib/porthole/runtime-version"

// LayerRoot is the folder of a layer's file system that holds what the image has in its
// root. What the file system has beside it, such as lost+found, no container sees.
const LayerRoot = "root"

// FoldersAnnotation is of a container's OCI spec: a JSON list of the folders that the agent
// makes in the root file system where the image has them not, such as its volumes.
const FoldersAnnotation = "run.porthole.folders"

// SerialPort is the name of the virtio-serial port that carries the mux.
const SerialPort = "porthole.mux"

// SCSIControllers are the instance ids, on Hyper-V's bus, of the controllers that take
// hot-added disks: the n-th is controller n of a disk's address. Elsewhere there is one.
var SCSIControllers = [4]string{
	"6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a0",
	"6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a1",
	"6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a2",
	"6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a3",
}

// HostGone is what the agent writes to its console when a session on SerialPort is over
// and it waits for the next.
const HostGone = "host gone"

// Limits of the wire.
const (
	MaxPodID        = 128  // bytes of a pod id in a ForwardHeader
	MaxForwardError = 1024 // bytes of an error in a forward reply
)

// MuxConfig is the yamux configuration of both ends: no keep-alives (an idle VM stays
// idle; a dead one is seen by its driver), no time limits of yamux's own (a paused or
// starved VM is not a broken one; callers bound their calls with contexts).
func MuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 24 * time.Hour
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.AcceptBacklog = 1024
	c.LogOutput = io.Discard
	return c
}

// WritePort writes the head of a mux stream.
func WritePort(w io.Writer, port uint32) error {
	_, err := w.Write(binary.BigEndian.AppendUint32(nil, port))
	return err
}

// ReadPort reads the head of a mux stream.
func ReadPort(r io.Reader) (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

// WriteStdioHeader names a stdio stream by the id that requests refer to. The
// host picks ids, never 0, unique in a VM's life.
func WriteStdioHeader(w io.Writer, id uint64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, id))
	return err
}

// ReadStdioHeader reads what WriteStdioHeader wrote.
func ReadStdioHeader(r io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	id := binary.BigEndian.Uint64(b[:])
	if id == 0 {
		return 0, fmt.Errorf("stdio stream id is 0")
	}
	return id, nil
}

// WriteShareHeader names a share's stream by the id that AttachShare refers to.
func WriteShareHeader(w io.Writer, id uint64) error { return WriteStdioHeader(w, id) }

// ReadShareHeader reads what WriteShareHeader wrote.
func ReadShareHeader(r io.Reader) (uint64, error) {
	id, err := ReadStdioHeader(r)
	if err != nil {
		return 0, fmt.Errorf("share stream: %w", err)
	}
	return id, nil
}

// WriteForwardHeader asks for a connection to a TCP port on a pod's loopback.
func WriteForwardHeader(w io.Writer, podID string, port uint16) error {
	if len(podID) == 0 || len(podID) > MaxPodID {
		return fmt.Errorf("pod id of %d bytes", len(podID))
	}
	b := []byte{byte(len(podID))}
	b = append(b, podID...)
	_, err := w.Write(binary.BigEndian.AppendUint16(b, port))
	return err
}

// ReadForwardHeader reads what WriteForwardHeader wrote.
func ReadForwardHeader(r io.Reader) (podID string, port uint16, err error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", 0, err
	}
	if n[0] == 0 || n[0] > MaxPodID {
		return "", 0, fmt.Errorf("pod id of %d bytes", n[0])
	}
	b := make([]byte, int(n[0])+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", 0, err
	}
	return string(b[:n[0]]), binary.BigEndian.Uint16(b[n[0]:]), nil
}

// WriteForwardReply answers a ForwardHeader: an empty message means connected, and
// the connection's bytes follow.
func WriteForwardReply(w io.Writer, message string) error {
	if len(message) > MaxForwardError {
		message = message[:MaxForwardError]
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}

// ReadForwardReply reads what WriteForwardReply wrote.
func ReadForwardReply(r io.Reader) (message string, err error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	size := binary.BigEndian.Uint16(n[:])
	if size > MaxForwardError {
		return "", fmt.Errorf("forward reply of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	return string(b), nil
}
