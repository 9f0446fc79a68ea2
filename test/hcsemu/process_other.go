//go:build !linux

package hcsemu

import (
	"errors"
	"net"
	"os"

	"github.com/porthole-run/porthole/internal/console"
)

type process struct {
	stderr *console.Ring
	done   chan struct{}
	err    error
}

func newPair() (net.Conn, *os.File, error)                 { return nil, nil, errors.ErrUnsupported }
func spawn(string, []string, []*os.File) (*process, error) { return nil, errors.ErrUnsupported }
func (*process) kill()                                     {}
