//go:build unix

package image

import (
	"io/fs"
	"syscall"
)

// allocated is the room that a file takes on the disk, less than its size where it
// has holes.
func allocated(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}
