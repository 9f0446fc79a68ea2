//go:build !linux

package main

import (
	"context"
	"errors"
)

type system struct {
	name  string
	check func(ctx context.Context, name, base string, o options) error
}

// all is empty: there is no oracle here. porthole share selftest checks a folder.
func all() []system { return nil }

func runFolder(context.Context, options) error { return errors.ErrUnsupported }
