package hostfs

import (
	"bytes"
	"encoding/binary"

	"github.com/porthole-run/porthole/share/posix"
)

// A dirent is one record of getdents64(2).
type dirent struct {
	name string
	ino  uint64
	off  uint64 // where to go on after it
	typ  uint32 // posix.DT_…
}

// parseDirents reads what getdents64(2) gave. A file system may be a foreign program's:
// EIO for what is no list of records.
func parseDirents(b []byte) ([]dirent, error) {
	const header = 19 // u64 ino, s64 off, u16 length of the record, u8 type
	var list []dirent
	for len(b) > 0 {
		if len(b) < header {
			return nil, posix.EIO
		}
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= header || size > len(b) {
			return nil, posix.EIO
		}
		name, _, ended := bytes.Cut(b[header:size], []byte{0})
		if !ended || len(name) > posix.NAME_MAX || bytes.IndexByte(name, '/') >= 0 {
			return nil, posix.EIO
		}
		if len(name) > 0 {
			list = append(list, dirent{
				name: string(name),
				ino:  binary.NativeEndian.Uint64(b),
				off:  binary.NativeEndian.Uint64(b[8:]),
				typ:  uint32(b[18]),
			})
		}
		b = b[size:]
	}
	return list, nil
}
