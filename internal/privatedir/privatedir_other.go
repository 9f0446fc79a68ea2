//go:build !windows

package privatedir

import (
	"io/fs"
	"os"
)

func makeDir(path string, mode fs.FileMode) error { return os.MkdirAll(path, mode) }
