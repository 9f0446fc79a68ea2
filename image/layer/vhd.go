package layer

import (
	"bytes"
	"fmt"
	"io"
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
	pos  int64
	high int64 // nothing was written at or beyond it
}

func (s *sparseFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += s.pos
	default:
		return 0, fmt.Errorf("seek from the end of %s: not supported", s.f.Name())
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s to %d: before its start", s.f.Name(), offset)
	}
	s.pos = offset
	return offset, nil
}

func (s *sparseFile) Read(b []byte) (int, error) {
	n, err := s.f.ReadAt(b, s.pos)
	s.pos += int64(n)
	return n, err
}

func (s *sparseFile) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		// One run of equal kind: zeros to leave out, or data to write.
		run, zero := 0, false
		for n+run < len(b) {
			k := min(len(zeros)-int((s.pos+int64(run))%int64(len(zeros))), len(b)-n-run)
			z := s.pos+int64(run) >= s.high && bytes.Equal(b[n+run:n+run+k], zeros[:k])
			if run == 0 {
				zero = z
			} else if z != zero {
				break
			}
			run += k
		}
		if !zero {
			k, err := s.f.WriteAt(b[n:n+run], s.pos)
			s.high = max(s.high, s.pos+int64(k))
			if err != nil {
				return n + k, err
			}
		}
		s.pos += int64(run)
		n += run
	}
	return n, nil
}

// reset empties the file for another attempt.
func (s *sparseFile) reset() error {
	s.pos, s.high = 0, 0
	return s.f.Truncate(0)
}
