package endpoint

import (
	"testing"

	"github.com/containerd/errdefs"
)

func TestDialer(t *testing.T) {
	for _, ok := range []string{"unix:///run/x.sock", "unix:/run/x.sock", `unix://C:\x.sock`, "npipe:////./pipe/kubelet-pods-api", `npipe:\\.\pipe\x`} {
		if _, err := Dialer(ok); err != nil {
			t.Errorf("Dialer(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"", "x", "/run/x.sock", "unix://", "unix:x", "tcp://127.0.0.1:1", "npipe:", "npipe:////./pipe/", "npipe:////host/pipe/x"} {
		if _, err := Dialer(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Dialer(%q) = %v, want invalid argument", bad, err)
		}
	}
}
