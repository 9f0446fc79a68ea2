//go:build !linux

package tapnet

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Tap is a tap interface; it exists on Linux only.
type Tap struct{}

// Create returns an error that is errors.ErrUnsupported.
func Create(name string) (*Tap, error) {
	return nil, fmt.Errorf("create tap %s: %w", name, errors.ErrUnsupported)
}

// Name returns the interface's name.
func (t *Tap) Name() string { return "" }

// Gone returns true.
func (t *Tap) Gone() bool { return true }

// File returns nil.
func (t *Tap) File() *os.File { return nil }

// CloseFile does nothing.
func (t *Tap) CloseFile() error { return nil }

// Join returns an error that is errors.ErrUnsupported.
func (t *Tap) Join(context.Context, string, string) error { return errors.ErrUnsupported }

// Leave returns an error that is errors.ErrUnsupported.
func (t *Tap) Leave(context.Context) error { return errors.ErrUnsupported }

// Remove returns an error that is errors.ErrUnsupported.
func (t *Tap) Remove() error { return errors.ErrUnsupported }
