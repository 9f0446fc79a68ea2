//go:build !windows

package hcs

import (
	"errors"
	"testing"
)

func TestOpen_NotHere(t *testing.T) {
	if _, err := Open(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Open() = %v, want ErrUnsupported", err)
	}
}
