//go:build !linux

package qemuvm

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/porthole-run/porthole/internal/console"
)

type pair struct {
	host  *net.UnixConn
	guest *os.File
}

func newPair() (pair, error) { return pair{}, errors.ErrUnsupported }

type fileConn struct{ *net.UnixConn }

type process struct {
	pid    int
	done   chan struct{}
	stderr *console.Ring
}

type command struct {
	path     string
	args     []string
	files    []*os.File
	uid, gid uint32
	groups   []uint32
}

func spawn(command) (*process, error) { return nil, errors.ErrUnsupported }

func (p *process) kill() {}

func (p *process) how() string { return "qemu does not run here" }

func tryLock(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func readable(os.FileInfo, uint32, uint32) bool { return true }

func openDisk(path string, readOnly bool) (*os.File, int64, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func kvmGroups() []uint32 { return nil }

func mayUse(string, uint32, uint32, []uint32) bool { return false }

func hostKernel() string { return "unknown" }

func output(context.Context, string, ...string) (string, error) {
	return "", errors.ErrUnsupported
}
