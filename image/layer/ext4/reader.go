package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrDamaged is that bytes are not a file system as a Writer makes it.
var ErrDamaged = errors.New("file system is damaged, or of another kind")

// What is read of one file at most, whatever it says of itself.
const (
	maxFolder  = 4 << 20
	maxSymlink = 4095
)

// Reader reads a file system that a Writer made, and no other: it refuses features that
// those have not. It takes nothing that it reads on trust: what does not fit is ErrDamaged, each
// call reads 4 MiB at most, or what its caller allows of a file, and holds no more.
// A Reader may be used from several goroutines if its input may.
type Reader struct {
	in             io.ReaderAt
	blocks         uint32 // of the file system
	inodes         uint32
	inodesPerGroup uint32
}

// NewReader returns a Reader of the file system that in begins with. Errors: ErrDamaged, and those
// of in, as for all that a Reader and its Nodes do.
func NewReader(in io.ReaderAt) (*Reader, error) {
	var b [1024]byte
	if err := readFull(in, b[:], 1024); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	r := &Reader{in: in, blocks: le.Uint32(b[0x04:]), inodes: le.Uint32(b[0x00:]), inodesPerGroup: le.Uint32(b[0x28:])}
	switch {
	case le.Uint16(b[0x38:]) != 0xef53, le.Uint32(b[0x18:]) != 2, le.Uint16(b[0x58:]) != inodeSize,
		le.Uint32(b[0x20:]) != blocksPerGroup, le.Uint32(b[0x54:]) != uint32(firstInode),
		le.Uint32(b[0x5c:]) != compatFeatures, le.Uint32(b[0x60:]) != incompatFeatures,
		le.Uint32(b[0x64:])&^manyFolders != readOnlyFeatures:
		return nil, fmt.Errorf("superblock: %w", ErrDamaged)
	case r.blocks == 0, r.inodesPerGroup == 0, r.inodesPerGroup%inodesPerBlock != 0, r.inodesPerGroup > maxInodesPerGroup,
		uint64(r.inodes) != uint64(groupsFor(r.blocks))*uint64(r.inodesPerGroup):
		return nil, fmt.Errorf("sizes in the superblock: %w", ErrDamaged)
	}
	return r, nil
}

// readFull fills b. What is behind the end of the input is what a damaged file system tells of.
func readFull(in io.ReaderAt, b []byte, at int64) error {
	n, err := in.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return fmt.Errorf("file system ends before %d: %w", at+int64(len(b)), ErrDamaged)
	}
	return err
}

// readBlock reads the begin of a block.
func (r *Reader) readBlock(block uint32, b []byte) error {
	if block == 0 || block >= r.blocks {
		return fmt.Errorf("block %d: %w", block, ErrDamaged)
	}
	return readFull(r.in, b, int64(block)*BlockSize)
}

// Node is a file, folder, symlink or device, as its inode tells of it. Node does not change.
type Node struct {
	Mode         fs.FileMode // kind and permissions, as package fs has them
	UID, GID     uint32
	Size         int64  // of what Content or Target returns
	Major, Minor uint32 // of a device

	r       *Reader
	inode   Inode
	extents bool // content is in blocks, of which data tells
	data    [inodeData]byte
	xattrs  [inodeXattrs]byte
	block   uint32 // of more attributes; 0: none
}

// fileModes are kinds of files by the kind in an inode's mode.
var fileModes = map[uint16]fs.FileMode{
	typeRegular: 0, typeFolder: fs.ModeDir, typeSymlink: fs.ModeSymlink, typeFifo: fs.ModeNamedPipe,
	typeChar: fs.ModeDevice | fs.ModeCharDevice, typeBlock: fs.ModeDevice,
}

// Open returns what an inode holds.
func (r *Reader) Open(i Inode) (*Node, error) {
	if i != Root && i < firstInode || uint32(i) > r.inodes {
		return nil, fmt.Errorf("inode %d: %w", i, ErrDamaged)
	}
	le := binary.LittleEndian
	group, at := (uint32(i)-1)/r.inodesPerGroup, (uint32(i)-1)%r.inodesPerGroup
	var d [descriptorSize]byte
	if err := readFull(r.in, d[:], BlockSize+int64(group)*descriptorSize); err != nil {
		return nil, err
	}
	table := uint64(le.Uint32(d[8:])) + uint64(at/inodesPerBlock)
	if table == 0 || table >= uint64(r.blocks) {
		return nil, fmt.Errorf("inodes of group %d: %w", group, ErrDamaged)
	}
	var b [inodeSize]byte
	if err := readFull(r.in, b[:], int64(table)*BlockSize+int64(at%inodesPerBlock)*inodeSize); err != nil {
		return nil, err
	}
	n := &Node{r: r, inode: i, block: le.Uint32(b[0x68:])}
	if !n.decode(b[:]) {
		return nil, fmt.Errorf("inode %d: %w", i, ErrDamaged)
	}
	return n, nil
}

// decode takes over what an inode tells. It returns false for one that no Writer wrote.
func (n *Node) decode(b []byte) bool {
	le := binary.LittleEndian
	mode, flags := le.Uint16(b), le.Uint32(b[0x20:])
	kind, ok := fileModes[mode&typeMask]
	n.Size = int64(le.Uint32(b[0x04:])) | int64(le.Uint32(b[0x6c:]))<<32
	if !ok || le.Uint16(b[0x1a:]) == 0 || le.Uint16(b[0x80:]) != inodeExtra || n.Size < 0 || n.Size > MaxFile {
		return false
	}
	n.Mode = kind | fs.FileMode(mode&0o777)
	for bit, m := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			n.Mode |= m
		}
	}
	n.UID = uint32(le.Uint16(b[0x02:])) | uint32(le.Uint16(b[0x78:]))<<16
	n.GID = uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16
	copy(n.data[:], b[0x28:])
	copy(n.xattrs[:], b[inodeUsed:])
	if n.Mode&fs.ModeDevice != 0 { // the larger form of a number, whose place is behind that of the small one
		if le.Uint32(b[0x28:]) != 0 {
			return false
		}
		dev := le.Uint32(b[0x2c:])
		n.Major, n.Minor = dev>>8&0xfff, dev&0xff|dev>>12&^0xff
	}
	written := inode{mode: mode, size: n.Size}
	n.extents = written.inBlocks()
	if n.extents {
		return flags == flagHugeFile|flagExtents
	}
	return flags == flagHugeFile
}

// Lookup returns what a folder has of a name: fs.ErrNotExist when it has none. ErrFile: the folder is
// larger than 4 MiB.
func (n *Node) Lookup(name string) (Inode, error) {
	if !n.Mode.IsDir() || n.Size == 0 || n.Size%BlockSize != 0 {
		return 0, fmt.Errorf("inode %d as a folder: %w", n.inode, ErrDamaged)
	}
	if n.Size > maxFolder {
		return 0, fmt.Errorf("folder of %d bytes: %w", n.Size, ErrFile)
	}
	var b [BlockSize]byte
	for k := range blocks(n.Size) {
		if err := n.read(k, b[:]); err != nil {
			return 0, err
		}
		i, err := lookup(b[:], name)
		if err != nil {
			return 0, fmt.Errorf("folder in inode %d: %w", n.inode, err)
		}
		if i != 0 {
			return i, nil
		}
	}
	return 0, fs.ErrNotExist
}

// lookup finds a name in a block of a folder; 0: it is not there.
func lookup(b []byte, name string) (Inode, error) {
	for len(b) > 0 {
		if len(b) < entryHeader {
			return 0, ErrDamaged
		}
		size, length := int(binary.LittleEndian.Uint16(b[4:])), int(b[6])
		if size < entryHeader+length || size > len(b) || size%4 != 0 {
			return 0, ErrDamaged
		}
		i := Inode(binary.LittleEndian.Uint32(b))
		if i != 0 && string(b[entryHeader:entryHeader+length]) == name {
			return i, nil
		}
		b = b[size:]
	}
	return 0, nil
}

// Content returns all that is in a regular file; ErrFile when that is more than max bytes.
func (n *Node) Content(max int64) ([]byte, error) {
	if !n.Mode.IsRegular() {
		return nil, fmt.Errorf("inode %d as a file: %w", n.inode, ErrDamaged)
	}
	return n.content(max)
}

// Target returns where a symlink leads.
func (n *Node) Target() (string, error) {
	switch {
	case n.Mode&fs.ModeSymlink == 0, n.Size == 0, n.Size > maxSymlink:
		return "", fmt.Errorf("inode %d as a symlink: %w", n.inode, ErrDamaged)
	case !n.extents:
		return string(n.data[:n.Size]), nil
	}
	b, err := n.content(maxSymlink)
	return string(b), err
}

func (n *Node) content(max int64) ([]byte, error) {
	if n.Size > max {
		return nil, fmt.Errorf("file of %d bytes: %w", n.Size, ErrFile)
	}
	b := make([]byte, n.Size)
	for k := range blocks(n.Size) {
		if err := n.read(k, b[int64(k)*BlockSize:min(int64(k+1)*BlockSize, n.Size)]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// read reads the begin of a node's k-th block. ErrFile: it is of a file whose extents are not in its inode.
func (n *Node) read(k uint32, b []byte) error {
	le := binary.LittleEndian
	used, depth := int(le.Uint16(n.data[2:])), le.Uint16(n.data[6:])
	switch {
	case !n.extents || le.Uint16(n.data[:]) != extentMagic || used > rootExtents || depth > 1:
		return fmt.Errorf("extents of inode %d: %w", n.inode, ErrDamaged)
	case depth == 1:
		return ErrFile
	}
	for i := range used {
		e := n.data[(i+1)*extentSize:]
		first, size, start := le.Uint32(e), uint32(le.Uint16(e[4:])), le.Uint32(e[8:])
		if k < first || k-first >= size {
			continue
		}
		if size > extentBlocks || le.Uint16(e[6:]) != 0 || start+(k-first) < start {
			break
		}
		return n.r.readBlock(start+(k-first), b)
	}
	return fmt.Errorf("block %d of inode %d: %w", k, n.inode, ErrDamaged)
}
