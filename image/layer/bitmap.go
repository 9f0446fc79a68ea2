package layer

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const ext4Block = 4096

// padBitmaps sets the bits behind the last inode in each inode bitmap, as ext4 wants
// them. tar2ext4 leaves them clear (hcsshim v0.15); without this e2fsck would call
// every layer damaged.
func padBitmaps(f *os.File) error {
	var sb [64]byte
	if _, err := f.ReadAt(sb[:], 1024); err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	blocks, perGroup, inodes := le.Uint32(sb[4:]), le.Uint32(sb[32:]), le.Uint32(sb[40:])
	if perGroup == 0 || inodes/8 > ext4Block {
		return fmt.Errorf("read superblock: %d blocks and %d inodes a group", perGroup, inodes)
	}
	pad := make([]byte, ext4Block-inodes/8) // inodes come in multiples of 16
	for i := range pad {
		pad[i] = 0xff
	}
	groups := io.NewSectionReader(f, ext4Block, int64((blocks-1)/perGroup+1)*32)
	for {
		var g [32]byte
		if _, err := io.ReadFull(groups, g[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read group descriptors: %w", err)
		}
		bitmap := int64(le.Uint32(g[4:]))
		if _, err := f.WriteAt(pad, bitmap*ext4Block+int64(inodes/8)); err != nil {
			return err
		}
	}
}
