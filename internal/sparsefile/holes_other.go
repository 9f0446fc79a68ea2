//go:build !linux

package sparsefile

import "os"

// nextData takes all of a file: the blocks are looked at.
func nextData(_ *os.File, at, size int64) (start, end int64, err error) { return at, size, nil }
