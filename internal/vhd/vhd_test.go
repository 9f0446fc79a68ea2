package vhd

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestFooter(t *testing.T) {
	for _, size := range []int64{4096, 3 << 20, 512 << 20, 3 << 30, 100 << 30, 200 << 30} {
		f := Footer(size, "x")
		var sum uint32
		for i, c := range f {
			if i < 64 || i >= 68 {
				sum += uint32(c)
			}
		}
		if got := binary.BigEndian.Uint32(f[64:]); got != ^sum {
			t.Errorf("checksum of %d = %x, want %x", size, got, ^sum)
		}
		cyl, heads, spt := geometry(size)
		chs := int64(cyl) * int64(heads) * int64(spt) * Sector
		if chs > size || chs == 0 && size > 1<<20 {
			t.Errorf("geometry of %d is %d bytes", size, chs)
		}
		if got := binary.BigEndian.Uint64(f[48:]); got != uint64(size) {
			t.Errorf("size = %d, want %d", got, size)
		}
	}
}

// TestFooter_Same: the same disk has the same footer, another another id.
func TestFooter_Same(t *testing.T) {
	one := Footer(4096, "one")
	if !bytes.Equal(one, Footer(4096, "one")) || bytes.Equal(one[68:84], Footer(4096, "two")[68:84]) {
		t.Error("ids are not made of names")
	}
}
