package layer

import (
	"bytes"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/internal/vhd"
)

// FooterSize is the number of bytes at the end of a fixed VHD that are not data.
const FooterSize = vhd.FooterSize

// footer returns the footer of a layer's disk of size data bytes. Equal layers are equal files.
func footer(size int64, id digest.Digest) []byte {
	return vhd.Footer(size, "porthole layer "+id.String())
}

var zeros [4096]byte

// sparseFile is a file that a writer fills mostly forward. Blocks of zeros beyond all
// that was written are left out: they read back as zeros, and file systems with holes
// need no room for them.
type sparseFile struct {
	f    *os.File
	high int64 // nothing was written at or beyond it
}

// WriteAt implements io.WriterAt, for one caller at a time.
func (s *sparseFile) WriteAt(b []byte, at int64) (int, error) {
	n := 0
	for n < len(b) {
		// One run of equal kind: zeros to leave out, or data to write.
		run, zero := 0, false
		for n+run < len(b) {
			pos := at + int64(n+run)
			k := min(len(zeros)-int(pos%int64(len(zeros))), len(b)-n-run)
			z := pos >= s.high && bytes.Equal(b[n+run:n+run+k], zeros[:k])
			if run == 0 {
				zero = z
			} else if z != zero {
				break
			}
			run += k
		}
		if !zero {
			k, err := s.f.WriteAt(b[n:n+run], at+int64(n))
			s.high = max(s.high, at+int64(n+k))
			if err != nil {
				return n + k, err
			}
		}
		n += run
	}
	return n, nil
}

// reset empties the file for another attempt.
func (s *sparseFile) reset() error {
	s.high = 0
	return s.f.Truncate(0)
}

// end makes a VHD of a file that holds a file system of size bytes, and returns its size.
func (s *sparseFile) end(size int64, id digest.Digest) (int64, error) {
	if _, err := s.f.WriteAt(footer(size, id), size); err != nil {
		return 0, err
	}
	return size + FooterSize, nil
}
