package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
)

const (
	xattrMagic       = 0xea020000
	xattrEntry       = 16 // without the name
	xattrBlockHeader = 32
	xattrInodeRoom   = inodeXattrs - 4 - 4 // magic, and the zeros that end the entries
	xattrBlockRoom   = BlockSize - xattrBlockHeader - 4
)

// ErrXattrs is that a file's extended attributes fit neither into its inode nor into a block.
var ErrXattrs = errors.New("extended attributes are too large")

// xattrPrefixes are what the first part of a name is stored as; the first that fits counts.
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{2, "system.posix_acl_access"},
	{3, "system.posix_acl_default"},
	{7, "system."},
	{1, "user."},
	{4, "trusted."},
	{6, "security."},
}

type xattr struct {
	index uint8
	name  string // after the prefix
	value string
}

func (x xattr) entrySize() int { return xattrEntry + (len(x.name)+3)&^3 }
func (x xattr) valueSize() int { return (len(x.value) + 3) &^ 3 }

// splitXattrs says what goes into the inode and what into a block: by name, what fits into
// the inode does. Blocks are searched by the kernel in the order of index, length, name.
func splitXattrs(all map[string]string) (inode, block []xattr, err error) {
	inodeRoom, blockRoom := xattrInodeRoom, xattrBlockRoom
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x := xattr{name: name, value: all[name]}
		for _, p := range xattrPrefixes {
			if rest, ok := strings.CutPrefix(name, p.prefix); ok {
				x.index, x.name = p.index, rest
				break
			}
		}
		size := x.entrySize() + x.valueSize()
		switch {
		case size <= inodeRoom:
			inode, inodeRoom = append(inode, x), inodeRoom-size
		case size <= blockRoom:
			block, blockRoom = append(block, x), blockRoom-size
		default:
			return nil, nil, ErrXattrs
		}
	}
	slices.SortFunc(block, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	return inode, block, nil
}

// putXattrs writes entries from the begin of b and values from its end. Where values are
// is counted from skip bytes before b.
func putXattrs(b []byte, skip int, all []xattr) {
	le := binary.LittleEndian
	at := len(b)
	for e := b; len(all) > 0; all = all[1:] {
		x := all[0]
		at -= x.valueSize()
		e[0], e[1] = uint8(len(x.name)), x.index
		le.PutUint16(e[2:], uint16(at+skip))
		le.PutUint32(e[8:], uint32(len(x.value)))
		le.PutUint32(e[12:], x.hash())
		copy(e[xattrEntry:], x.name)
		copy(b[at:], x.value)
		e = e[x.entrySize():]
	}
}

// hash is e_hash: e2fsck compares it.
func (x xattr) hash() uint32 {
	var h uint32
	for _, c := range []byte(x.name) {
		h = h<<5 ^ h>>27 ^ uint32(c)
	}
	v := make([]byte, x.valueSize())
	copy(v, x.value)
	for ; len(v) > 0; v = v[4:] {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(v)
	}
	return h
}

// setXattrs gives an inode its attributes, in place of those that it had.
func (w *Writer) setXattrs(m *more, all map[string]string) error {
	inode, block, err := splitXattrs(all)
	if err != nil {
		return err
	}
	m.xattrs = nil
	if len(inode) > 0 {
		m.xattrs = make([]byte, inodeXattrs)
		binary.LittleEndian.PutUint32(m.xattrs, xattrMagic)
		putXattrs(m.xattrs[4:], 0, inode)
	}
	if len(block) == 0 && m.block == 0 {
		return nil
	}
	var b [BlockSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], xattrMagic)
	le.PutUint32(b[4:], 1) // users of the block
	le.PutUint32(b[8:], 1) // blocks
	putXattrs(b[xattrBlockHeader:], xattrBlockHeader, block)
	if m.block != 0 { // a block once taken stays the inode's
		return w.rewrite(int64(m.block)*BlockSize, b[:])
	}
	m.block = w.block()
	return w.put(b[:])
}
