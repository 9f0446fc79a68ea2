//go:build !unix

package atomicfile

import (
	"io/fs"
	"os"
)

// setMode does nothing: permissions come from the folder's access list, which new
// files inherit.
func setMode(*os.File, fs.FileMode) error { return nil }

// syncDir does nothing: NTFS journals the rename, and folders cannot be flushed.
func syncDir(string) error { return nil }
