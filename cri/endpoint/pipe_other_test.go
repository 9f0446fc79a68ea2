//go:build !windows

package endpoint

import (
	"errors"
	"testing"
)

func TestDialPipe_NotHere(t *testing.T) {
	dial, err := Dialer("npipe:////./pipe/kubelet-pods-api")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("= %v, want unsupported", err)
	}
}
