package scratch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// copySparse copies src to the empty file dst: by sharing its blocks where the file
// system can, else by copying what is not a hole.
func copySparse(dst, src *os.File) error {
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err == nil {
		return nil
	}
	for at := int64(0); ; {
		start, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no data from here on
			return nil
		}
		if err != nil {
			return fmt.Errorf("find data: %w", err)
		}
		end, err := src.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("find hole: %w", err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, start), io.NewSectionReader(src, start, end-start)); err != nil {
			return err
		}
		at = end
	}
}

// allocated is what the file takes of its file system.
func allocated(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512 // whatever the block size is
	}
	return uint64(fi.Size())
}
