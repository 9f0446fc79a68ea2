package ext4

import (
	"encoding/binary"
	"fmt"
)

// Xattrs returns a node's extended attributes by their full names; ACLs are as ext4 stores them.
func (n *Node) Xattrs() (map[string]string, error) {
	all := map[string]string{}
	le := binary.LittleEndian
	if le.Uint32(n.xattrs[:]) == xattrMagic { // else there are none in the inode
		if !getXattrs(all, n.xattrs[4:], n.xattrs[4:]) {
			return nil, fmt.Errorf("extended attributes in inode %d: %w", n.inode, ErrDamaged)
		}
	}
	if n.block == 0 {
		return all, nil
	}
	var b [BlockSize]byte
	if err := n.r.readBlock(n.block, b[:]); err != nil {
		return nil, err
	}
	if le.Uint32(b[:]) != xattrMagic || !getXattrs(all, b[xattrBlockHeader:], b[:]) {
		return nil, fmt.Errorf("extended attributes of inode %d: %w", n.inode, ErrDamaged)
	}
	return all, nil
}

// getXattrs adds attributes whose entries begin with e, until the first that is all zeros. Where
// values are is counted from the begin of values.
func getXattrs(all map[string]string, e, values []byte) bool {
	le := binary.LittleEndian
	for len(e) >= 4 && le.Uint32(e) != 0 {
		if len(e) < xattrEntry {
			return false
		}
		x := xattr{index: e[1]}
		at, size := uint64(le.Uint16(e[2:])), uint64(le.Uint32(e[8:]))
		end := xattrEntry + int(e[0])
		// le.Uint32(e[4:]) would be an inode that holds the value.
		if end > len(e) || le.Uint32(e[4:]) != 0 || at+size > uint64(len(values)) {
			return false
		}
		x.name, x.value = string(e[xattrEntry:end]), string(values[at:at+size])
		prefix, ok := "", x.index == 0
		for _, p := range xattrPrefixes {
			if p.index == x.index {
				prefix, ok = p.prefix, true
			}
		}
		if !ok || x.entrySize() > len(e) {
			return false
		}
		all[prefix+x.name] = x.value
		e = e[x.entrySize():]
	}
	return true
}
