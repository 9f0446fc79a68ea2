package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"

	"github.com/opencontainers/go-digest"
)

// FooterSize is the number of bytes at the end of a fixed VHD that are not data.
const FooterSize = 512

const sector = 512

// footer returns the footer of a fixed VHD of size data bytes. It is a function of
// the content alone: the disk's id comes from its diff ID, the time is zero, so that
// equal layers are equal files.
func footer(size int64, id digest.Digest) []byte {
	b := make([]byte, FooterSize)
	be := binary.BigEndian
	copy(b, "conectix")
	be.PutUint32(b[8:], 2)             // features: reserved bit, always set
	be.PutUint32(b[12:], 0x00010000)   // format version
	be.PutUint64(b[16:], ^uint64(0))   // data offset: none, a fixed disk
	copy(b[28:], "win ")               // readers such as QEMU trust the size, not the geometry, of this creator
	be.PutUint32(b[32:], 0x000a0000)   // creator version
	copy(b[36:], "Wi2k")               // creator host
	be.PutUint64(b[40:], uint64(size)) // original size
	be.PutUint64(b[48:], uint64(size)) // current size
	cyl, heads, spt := geometry(size)
	be.PutUint16(b[56:], cyl)
	b[58], b[59] = heads, spt
	be.PutUint32(b[60:], 2) // fixed
	sum := sha256.Sum256([]byte("porthole layer " + id.String()))
	copy(b[68:84], sum[:]) // the disk's id
	var check uint32
	for _, c := range b {
		check += uint32(c)
	}
	be.PutUint32(b[64:], ^check)
	return b
}

// geometry is the cylinder, head and sector numbers that the VHD specification
// (appendix, CHS calculation) gives a disk of size bytes.
func geometry(size int64) (cyl uint16, heads, spt uint8) {
	total := min(size/sector, 65535*16*255)
	var perCyl int64
	if total >= 65535*16*63 {
		spt, heads = 255, 16
		perCyl = total / int64(spt)
	} else {
		spt = 17
		perCyl = total / int64(spt)
		heads = uint8(max((perCyl+1023)/1024, 4))
		if perCyl >= int64(heads)*1024 || (perCyl+1023)/1024 > 16 {
			spt, heads = 31, 16
			perCyl = total / int64(spt)
		}
		if perCyl >= int64(heads)*1024 {
			spt, heads = 63, 16
			perCyl = total / int64(spt)
		}
	}
	return uint16(perCyl / int64(heads)), heads, spt
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
