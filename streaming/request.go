package streaming

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Request asks for the streams of an exec or an attach.
type Request struct {
	ContainerID           string
	Cmd                   []string // exec only
	Stdin, Stdout, Stderr bool
	TTY                   bool
}

func (r Request) validate() error {
	switch {
	case r.ContainerID == "":
		return fmt.Errorf("container id is empty: %w", errdefs.ErrInvalidArgument)
	case r.TTY && r.Stderr:
		return fmt.Errorf("tty and stderr are both set, but a terminal has one output: %w", errdefs.ErrInvalidArgument)
	case !r.Stdin && !r.Stdout && !r.Stderr:
		return fmt.Errorf("none of stdin, stdout and stderr is set: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// forward asks for a port-forward.
type forward struct {
	podID string
	ports []int32 // for WebSocket; SPDY clients name the port with each stream
}

// The kinds of request, also the first element of a URL's path.
const (
	kindExec    = "exec"
	kindAttach  = "attach"
	kindForward = "portforward"
)

// ExecURL returns a URL that runs r.Cmd once when a client upgrades to it within a
// minute. Errors are InvalidArgument, or ResourceExhausted when too many URLs wait.
func (s *Server) ExecURL(r Request) (string, error) {
	if err := r.validate(); err != nil {
		return "", err
	}
	if len(r.Cmd) == 0 {
		return "", fmt.Errorf("command is empty: %w", errdefs.ErrInvalidArgument)
	}
	return s.url(kindExec, r)
}

// AttachURL is like ExecURL, for an attach; r.Cmd is not used.
func (s *Server) AttachURL(r Request) (string, error) {
	if err := r.validate(); err != nil {
		return "", err
	}
	return s.url(kindAttach, r)
}

// PortForwardURL is like ExecURL, for forwarding to ports of a pod. SPDY clients may ask
// for other ports than these, and may ask for many one after another.
func (s *Server) PortForwardURL(podID string, ports []int32) (string, error) {
	if podID == "" {
		return "", fmt.Errorf("pod sandbox id is empty: %w", errdefs.ErrInvalidArgument)
	}
	for _, p := range ports {
		if p < 1 || p > 65535 {
			return "", fmt.Errorf("port %d is not in 1 to 65535: %w", p, errdefs.ErrInvalidArgument)
		}
	}
	return s.url(kindForward, forward{podID: podID, ports: ports})
}

func (s *Server) url(kind string, request any) (string, error) {
	token, err := s.tokens.put(kind, request)
	if err != nil {
		return "", fmt.Errorf("make %s URL: %w", kind, err)
	}
	return s.base + "/" + kind + "/" + token, nil
}
