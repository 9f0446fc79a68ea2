package vhd

import (
	"crypto/sha256"
	"encoding/binary"
)

// FooterSize is the number of bytes at the end of a fixed VHD that are not data.
const FooterSize = 512

// Sector is what the number of a disk's data bytes is a multiple of.
const Sector = 512

// Footer returns the footer of a fixed VHD of size data bytes. It is a function of its arguments alone: the
// disk's id comes from name, the time is zero, so that disks of one content and name are equal files.
func Footer(size int64, name string) []byte {
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
	sum := sha256.Sum256([]byte(name))
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
	total := min(size/Sector, 65535*16*255)
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
