package crun

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// consoleSocket is where crun sends the host side of a new terminal.
type consoleSocket struct {
	dir, path string
	l         *net.UnixListener
}

// listenConsole makes the socket in a folder with a short name, as the path of a socket
// may have 107 bytes only.
func listenConsole() (*consoleSocket, error) {
	dir, err := os.MkdirTemp("", "tty")
	if err != nil {
		return nil, fmt.Errorf("make console socket: %w", err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("make console socket: %w", err)
	}
	return &consoleSocket{dir: dir, path: path, l: l}, nil
}

func (s *consoleSocket) close() {
	s.l.Close()
	os.RemoveAll(s.dir)
}

// receive takes the terminal that crun, which has exited, has sent.
func (s *consoleSocket) receive() (*os.File, error) {
	s.l.SetDeadline(time.Now().Add(5 * time.Second))
	c, err := s.l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		if len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			if err := unix.SetNonblock(fds[0], true); err != nil { // lets a read be ended
				unix.Close(fds[0])
				return nil, err
			}
			return os.NewFile(uintptr(fds[0]), "terminal"), nil
		}
	}
	return nil, fmt.Errorf("a message without one descriptor")
}
