package arbiter

import (
	"fmt"
	"net"
	"os"

	"github.com/porthole-run/porthole/internal/localsock"
)

// endPeer kills the process that listens at the other end of a connection.
func endPeer(nc net.Conn) error {
	pid, err := localsock.Server(nc)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find the arbiter's process: %w", err)
	}
	defer p.Release()
	return p.Kill()
}
