package localsock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"sync"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/internal/winowner"
)

// MaxPath is the longest path of a socket, in bytes. 0: no bound, as the pipe's name is
// not the path.
const MaxPath = 0

// ours lets Administrators and SYSTEM use a pipe, and nobody else.
const ours = "D:P(A;;GA;;;BA)(A;;GA;;;SY)"

// buffer is what a pipe holds each way before a writer waits, as a unix socket does.
const buffer = 64 << 10

// pipeName is the pipe of a path: pipes have names, not places.
func pipeName(path string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(path))))
	return `\\.\pipe\porthole-` + hex.EncodeToString(sum[:16])
}

func listen(_ context.Context, path string) (net.Listener, error) {
	// Of messages, whose reader takes them for bytes all the same: one of no bytes is
	// how such a pipe is closed for writing.
	l, err := ListenPipe(pipeName(path), PipeConfig{Descriptor: ours, Buffer: buffer, Halves: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func listenPipe(name string, c PipeConfig) (net.Listener, error) {
	for range maxUseUps {
		l, err := winio.ListenPipe(name, &winio.PipeConfig{
			SecurityDescriptor: c.Descriptor, MessageMode: c.Halves,
			InputBufferSize: int32(c.Buffer), OutputBufferSize: int32(c.Buffer),
		})
		switch {
		case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_PIPE_BUSY):
			return nil, fmt.Errorf("another process has it: %w: %w", err, fs.ErrExist)
		case err != nil:
			return nil, fmt.Errorf("for security descriptor %q: %w", c.Descriptor, err)
		}
		if !wine() || useUp(name) {
			return l, nil
		}
		// A client came first, and would wait for ever: it finds the pipe gone, and the next.
		_ = l.Close()
	}
	return nil, fmt.Errorf("clients came before it listened, %d times", maxUseUps)
}

// maxUseUps is how often a pipe is made anew in Wine.
const maxUseUps = 100

// wine says whether this is Wine.
var wine = sync.OnceValue(func() bool { return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil })

// useUp connects once, before anybody accepts, or says that another has. The library keeps
// the pipe's first instance, which it makes without the right to read or write, only for the
// name: on Windows nobody can connect to such an instance. In Wine (8, 10) one can, and that
// client would wait for an answer for ever.
func useUp(name string) bool {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false
	}
	h, err := windows.CreateFile(p, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING,
		windows.SECURITY_SQOS_PRESENT|windows.SECURITY_ANONYMOUS, 0)
	if err == nil {
		_ = windows.CloseHandle(h)
	}
	return err == nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	conn, err := dialPipe(ctx, pipeName(path))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}

func dialPipe(ctx context.Context, name string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, name)
	if err != nil {
		return nil, err
	}
	// Pipes have no folder that keeps others from using a name that is free, as after its
	// process's death.
	if err := winowner.CheckHandle(windows.Handle(conn.(handle).Fd())); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// handle is what connections of pipes have.
type handle interface{ Fd() uintptr }

func server(conn net.Conn) (int, error) {
	h, ok := conn.(handle)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	var pid uint32
	if err := windows.GetNamedPipeServerProcessId(windows.Handle(h.Fd()), &pid); err != nil {
		return 0, err
	}
	return int(pid), nil
}
