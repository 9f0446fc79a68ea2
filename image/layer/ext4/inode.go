package ext4

import (
	"encoding/binary"
	"time"
)

// Inode is the number of an inode.
type Inode uint32

const (
	// Root is the folder that a file system begins with.
	Root Inode = 2

	firstInode     Inode = 11 // those below are reserved
	lostFoundInode       = firstInode

	inodeSize    = 256
	inodeUsed    = 152 // until i_crtime_extra, with it
	inodeXattrs  = inodeSize - inodeUsed
	inodeExtra   = inodeUsed - 128
	inodeData    = 60 // i_block
	shortSymlink = 59
	flagHugeFile = 0x40000 // i_blocks counts blocks
	flagExtents  = 0x80000
	maxLinks     = 65000
	extentMagic  = 0xf30a
	extentSize   = 12
	extentBlocks = 0x8000 // the most blocks of one extent
	rootExtents  = 4
	leafExtents  = BlockSize/extentSize - 1
)

// Kinds of files, as in the mode of an inode.
const (
	typeMask    = 0xf000
	typeFifo    = 0x1000
	typeChar    = 0x2000
	typeFolder  = 0x4000
	typeBlock   = 0x6000
	typeRegular = 0x8000
	typeSymlink = 0xa000
)

// Time is a time as ext4 has it: seconds in the low 34 bits, of which the highest two are
// the number of 2^32 seconds to add to the signed 32 below, and nanoseconds above.
type Time uint64

// The first and the last second that ext4 can hold.
const (
	FirstSecond = -0x80000000
	LastSecond  = 0x37fffffff
)

// MakeTime returns the Time nearest to t. The zero time.Time is 1970.
func MakeTime(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	s, ns := t.Unix(), t.Nanosecond()
	switch {
	case s < FirstSecond:
		s, ns = FirstSecond, 0
	case s > LastSecond:
		s, ns = LastSecond, 0
	}
	epoch := uint64((s-int64(int32(s)))>>32) & 3
	return Time(uint64(uint32(s)) | epoch<<32 | uint64(ns)<<34)
}

// Attr is what is told of a file beside its kind.
type Attr struct {
	Mode                uint16 // the low 12 bits: permissions, set-id, sticky
	UID, GID            uint32
	Mtime, Atime, Ctime Time              // the time of birth is Mtime
	Xattrs              map[string]string // with full names; ACLs as ext4 stores them
}

// inode is what is kept of a file until the end.
type inode struct {
	mtime    Time
	size     int64
	uid, gid uint32
	// data is where content is: the first of its blocks, which follow each other, then
	// the block of extents where one is needed; a short symlink's Name; a device's number.
	data  uint32
	more  uint32 // one more than the index in Writer.more; 0: nothing there
	mode  uint16
	links uint16
}

// more is what few inodes have.
type more struct {
	atime, ctime Time
	xattrs       []byte // those in the inode, inodeXattrs bytes; or nil
	block        uint32 // of the others; or 0
}

func (n *inode) is(kind uint16) bool { return n.mode&typeMask == kind }

// inBlocks tells whether an inode's content is in blocks of its own.
func (n *inode) inBlocks() bool {
	switch n.mode & typeMask {
	case typeFolder, typeRegular:
		return n.size > 0
	case typeSymlink:
		return n.size > shortSymlink
	}
	return false
}

// blocks is how many blocks n bytes take.
func blocks(n int64) uint32 { return uint32((n + BlockSize - 1) / BlockSize) }

// extents is how many extents so many blocks in a row take.
func extents(blocks uint32) int { return int((blocks + extentBlocks - 1) / extentBlocks) }

// encode writes an inode as it is in the table; b is all zeros.
func (w *Writer) encode(b []byte, n *inode) {
	le := binary.LittleEndian
	var m more
	if n.more > 0 {
		m = *w.more.At(int(n.more - 1))
	}
	flags, used := uint32(flagHugeFile), uint32(0)
	switch {
	case n.inBlocks():
		flags |= flagExtents
		used = blocks(n.size)
		if putExtents(b[0x28:0x28+inodeData], n.data, used) {
			used++
		}
	case n.is(typeSymlink):
		copy(b[0x28:], w.names.Bytes(Name(n.data)))
	case n.is(typeChar), n.is(typeBlock):
		le.PutUint32(b[0x2c:], n.data)
	}
	if m.block != 0 {
		used++
	}
	le.PutUint16(b[0x00:], n.mode)
	le.PutUint16(b[0x02:], uint16(n.uid))
	le.PutUint32(b[0x04:], uint32(n.size))
	le.PutUint32(b[0x08:], uint32(m.atime))
	le.PutUint32(b[0x0c:], uint32(m.ctime))
	le.PutUint32(b[0x10:], uint32(n.mtime))
	le.PutUint16(b[0x18:], uint16(n.gid))
	le.PutUint16(b[0x1a:], n.links)
	le.PutUint32(b[0x1c:], used)
	le.PutUint32(b[0x20:], flags)
	le.PutUint32(b[0x68:], m.block)
	le.PutUint32(b[0x6c:], uint32(n.size>>32))
	le.PutUint16(b[0x78:], uint16(n.uid>>16))
	le.PutUint16(b[0x7a:], uint16(n.gid>>16))
	le.PutUint16(b[0x80:], inodeExtra)
	le.PutUint32(b[0x84:], uint32(m.ctime>>32))
	le.PutUint32(b[0x88:], uint32(n.mtime>>32))
	le.PutUint32(b[0x8c:], uint32(m.atime>>32))
	le.PutUint32(b[0x90:], uint32(n.mtime))
	le.PutUint32(b[0x94:], uint32(n.mtime>>32))
	copy(b[inodeUsed:], m.xattrs)
}

// putExtents writes an inode's own piece of the tree of extents for blocks in a row from
// start. It tells whether a leaf has to follow the blocks.
func putExtents(b []byte, start, blocks uint32) (leaf bool) {
	if extents(blocks) <= rootExtents {
		putLeaf(b, rootExtents, start, blocks)
		return false
	}
	putExtentHeader(b, 1, rootExtents, 1)
	binary.LittleEndian.PutUint32(b[extentSize+4:], start+blocks)
	return true
}

// putLeaf writes all extents of a file.
func putLeaf(b []byte, room int, start, blocks uint32) {
	le := binary.LittleEndian
	n := extents(blocks)
	putExtentHeader(b, n, room, 0)
	for i := range n {
		e := b[(i+1)*extentSize:]
		first := uint32(i) * extentBlocks
		le.PutUint32(e, first)
		le.PutUint16(e[4:], uint16(min(blocks-first, extentBlocks)))
		le.PutUint32(e[8:], start+first)
	}
}

func putExtentHeader(b []byte, used, room, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(used))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
}
