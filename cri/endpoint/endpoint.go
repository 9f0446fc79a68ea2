package endpoint

import (
	"context"
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/localsock"
)

// Dialer returns how to connect to an endpoint as the kubelet writes them:
// unix:///run/x.sock, unix:/run/x.sock, npipe:////./pipe/x or npipe:\\.\pipe\x. It
// connects to nothing yet. ErrUnsupported comes from dialing a pipe where there are none.
func Dialer(endpoint string) (func(context.Context) (net.Conn, error), error) {
	scheme, rest, ok := strings.Cut(endpoint, ":")
	switch {
	case ok && scheme == "unix":
		at := strings.TrimPrefix(rest, "//")
		if !path.IsAbs(at) && !strings.Contains(at, `:\`) && !strings.Contains(at, ":/") {
			return nil, fmt.Errorf("endpoint %q has no absolute path: %w", endpoint, errdefs.ErrInvalidArgument)
		}
		return func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", at)
		}, nil
	case ok && scheme == "npipe":
		// npipe:////./pipe/x: a URL without a host, whose path is the pipe's.
		at := strings.ReplaceAll(rest, "/", `\`)
		if strings.HasPrefix(at, `\\\\`) {
			at = at[2:]
		}
		if name, ok := strings.CutPrefix(at, `\\.\pipe\`); !ok || name == "" {
			return nil, fmt.Errorf("endpoint %q is no pipe such as npipe:////./pipe/kubelet-pods-api: %w", endpoint, errdefs.ErrInvalidArgument)
		}
		// Any user can make a pipe of a name that nobody has at the moment; what such a one
		// says about rights must not be believed.
		return func(ctx context.Context) (net.Conn, error) { return localsock.DialPipe(ctx, at) }, nil
	}
	return nil, fmt.Errorf("endpoint %q is neither unix:// nor npipe://: %w", endpoint, errdefs.ErrInvalidArgument)
}
