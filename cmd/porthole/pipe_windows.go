package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// startCommand starts the daemon.
const startCommand = "porthole service start"

// pipeBuffer is what a pipe holds each way before a writer waits.
const pipeBuffer = 64 << 10

// listenPipe makes a named pipe for those whom an SDDL lets in. It makes the first
// instance: another process cannot have made the pipe before and read along.
func listenPipe(name, descriptor string) (net.Listener, error) {
	l, err := winio.ListenPipe(name, &winio.PipeConfig{
		SecurityDescriptor: descriptor, InputBufferSize: pipeBuffer, OutputBufferSize: pipeBuffer,
	})
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_PIPE_BUSY):
		return nil, fmt.Errorf("listen on pipe %s: another process has it: %w: %w", name, err, errRunning)
	case err != nil:
		return nil, fmt.Errorf("listen on pipe %s with security descriptor %q: %w", name, descriptor, err)
	}
	return l, nil
}

func dialPipe(ctx context.Context, name string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, name)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, fmt.Errorf("%w: Administrators and SYSTEM may: use an elevated prompt", err)
	}
	return conn, err
}

// adminEndpoint is a pipe of the state folder's own: pipes have names, not places.
func adminEndpoint(c config.Config) config.Endpoint {
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(c.State))))
	return config.Endpoint{Kind: config.Pipe, Address: `\\.\pipe\porthole-admin-` + hex.EncodeToString(sum[:8])}
}
