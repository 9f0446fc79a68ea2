package hcsvm

import (
	"fmt"
	"net"

	"github.com/Microsoft/go-winio"
)

func listenPipe(path, sddl string) (net.Listener, error) {
	l, err := winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: sddl})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}
