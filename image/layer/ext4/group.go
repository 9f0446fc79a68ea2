package ext4

import "encoding/binary"

const (
	blocksPerGroup      = BlockSize * 8 // what one block of a bitmap tells of
	maxInodesPerGroup   = BlockSize * 8
	inodesPerBlock      = BlockSize / inodeSize
	descriptorSize      = 32
	descriptorsPerBlock = BlockSize / descriptorSize
)

// Features that readers have to know of.
const (
	compatFeatures   = 0x8 | 0x200               // ext_attr, sparse_super2: no copies of the superblock
	incompatFeatures = 0x2 | 0x40 | 0x200        // filetype, extents, flex_bg
	manyFolders      = 0x20                      // dir_nlink, only where it is so
	readOnlyFeatures = 0x2 | 0x8 | 0x40 | 0x1000 // large_file, huge_file, extra_isize, readonly
)

// groupsFor is how many groups so many blocks are.
func groupsFor(blocks uint32) uint32 { return (blocks-1)/blocksPerGroup + 1 }

// layout is how a file system is divided into groups. As flex_bg allows, the tables and
// bitmaps of all groups are in one piece at the end.
type layout struct {
	groups         uint32
	inodesPerGroup uint32
	table          uint32 // the first block of the inodes
	bitmaps        uint32 // the first block of the bitmaps, of which each group has two
	end            uint32 // the block behind the last that is used
	blocks         uint32 // of the file system
}

// divide finds the number of inodes for each group with which the fewest groups do: there
// must be room for the data, and an inode for each file.
func divide(data uint32, last Inode) layout {
	l := layout{table: data, groups: ^uint32(0)}
	for inodes := uint32(inodesPerBlock); inodes <= maxInodesPerGroup; inodes += inodesPerBlock {
		room := uint64(blocksPerGroup - inodes/inodesPerBlock - 2) // for data, beside the tables and bitmaps
		need := max(uint64(data), (uint64(last)-1)/uint64(inodes)*room+1)
		if groups := (need + room - 1) / room; groups < uint64(l.groups) {
			l.groups, l.inodesPerGroup = uint32(groups), inodes
		}
	}
	l.bitmaps = l.table + l.groups*l.tableBlocks()
	l.end = l.bitmaps + 2*l.groups
	l.blocks = max(l.end, (l.groups-1)*blocksPerGroup+1)
	return l
}

// tableBlocks is how many blocks of inodes a group has.
func (l *layout) tableBlocks() uint32 { return l.inodesPerGroup / inodesPerBlock }

// putGroups writes all that is behind the data, and the begin of the file system.
func (w *Writer) putGroups() (int64, error) {
	l := divide(w.block(), w.last())
	used := (l.groups-1)/descriptorsPerBlock + 1
	if used > w.descriptorBlocks || int64(l.blocks)*BlockSize > w.max {
		return 0, w.tooLarge()
	}
	if err := w.putTable(l); err != nil {
		return 0, err
	}
	descriptors := make([]byte, w.descriptorBlocks*BlockSize)
	var freeBlocks, freeInodes uint32
	for g := range l.groups {
		b, i, err := w.putBitmaps(l, g, used, descriptors[g*descriptorSize:])
		if err != nil {
			return 0, err
		}
		freeBlocks, freeInodes = freeBlocks+b, freeInodes+i
	}
	if err := w.rewrite(BlockSize, descriptors); err != nil {
		return 0, err
	}
	return int64(l.blocks) * BlockSize, w.putSuperblock(l, freeBlocks, freeInodes)
}

func (w *Writer) putTable(l layout) error {
	end := w.pos + int64(l.groups)*int64(l.inodesPerGroup)*inodeSize
	for i := Inode(1); i <= w.last(); i++ {
		var b [inodeSize]byte
		if i == Root || i >= firstInode {
			w.encode(b[:], w.inode(i))
		}
		if err := w.put(b[:]); err != nil {
			return err
		}
	}
	for w.pos < end {
		if err := w.put(zeros[:min(BlockSize, end-w.pos)]); err != nil {
			return err
		}
	}
	return nil
}

// putBitmaps writes a group's bitmaps and its descriptor, and returns what is free in it.
func (w *Writer) putBitmaps(l layout, g, descriptors uint32, descriptor []byte) (freeBlocks, freeInodes uint32, err error) {
	var b [2 * BlockSize]byte
	first := g * blocksPerGroup
	free := func(from, to uint32) { // of blocks, as far as they are in the group
		for i := max(from, first); i < min(to, first+blocksPerGroup); i++ {
			b[(i-first)/8] &^= 1 << (i % 8)
			freeBlocks++
		}
	}
	for i := range b[:BlockSize] { // also what is behind the file system's end
		b[i] = 0xff
	}
	free(1+descriptors, 1+w.descriptorBlocks)
	free(l.end, l.blocks)

	var folders uint32
	bits := b[BlockSize:]
	for i := range uint32(maxInodesPerGroup) {
		n := Inode(g*l.inodesPerGroup + i + 1)
		if i < l.inodesPerGroup && n > w.last() {
			freeInodes++
			continue
		}
		bits[i/8] |= 1 << (i % 8) // also what is behind the group's last
		if i < l.inodesPerGroup && (n == Root || n >= firstInode) && w.inode(n).is(typeFolder) {
			folders++
		}
	}
	le := binary.LittleEndian
	le.PutUint32(descriptor[0:], l.bitmaps+2*g)
	le.PutUint32(descriptor[4:], l.bitmaps+2*g+1)
	le.PutUint32(descriptor[8:], l.table+g*l.tableBlocks())
	le.PutUint16(descriptor[12:], uint16(freeBlocks))
	le.PutUint16(descriptor[14:], uint16(freeInodes))
	le.PutUint16(descriptor[16:], uint16(folders))
	return freeBlocks, freeInodes, w.put(b[:])
}

func (w *Writer) putSuperblock(l layout, freeBlocks, freeInodes uint32) error {
	var block [BlockSize]byte
	b := block[1024:]
	le := binary.LittleEndian
	le.PutUint32(b[0x00:], l.groups*l.inodesPerGroup)
	le.PutUint32(b[0x04:], l.blocks)
	le.PutUint32(b[0x0c:], freeBlocks)
	le.PutUint32(b[0x10:], freeInodes)
	le.PutUint32(b[0x18:], 2) // the size of a block is 2^(10+2)
	le.PutUint32(b[0x1c:], 2)
	le.PutUint32(b[0x20:], blocksPerGroup)
	le.PutUint32(b[0x24:], blocksPerGroup)
	le.PutUint32(b[0x28:], l.inodesPerGroup)
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], 1) // clean
	le.PutUint16(b[0x3c:], 1) // go on after errors
	le.PutUint32(b[0x4c:], 1) // revision
	le.PutUint32(b[0x54:], uint32(firstInode))
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint32(b[0x5c:], compatFeatures)
	le.PutUint32(b[0x60:], incompatFeatures)
	features := uint32(readOnlyFeatures)
	if w.manyFolders {
		features |= manyFolders
	}
	le.PutUint32(b[0x64:], features)
	le.PutUint16(b[0x15c:], inodeExtra)
	le.PutUint16(b[0x15e:], inodeExtra)
	b[0x174] = 31 // one flexible group of all
	le.PutUint32(b[0x268:], uint32(lostFoundInode))
	return w.rewrite(0, block[:])
}
