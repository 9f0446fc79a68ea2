package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// entry is a name in a folder.
type entry struct {
	dir   Inode
	name  Name
	inode Inode
}

const (
	entryHeader = 8
	// blockTail is what stays free at a block's end, for the empty entry that fills it.
	blockTail = 12
)

// fileTypes are the kinds of files in entries of folders, by the kind in an inode's mode.
var fileTypes = map[uint16]uint8{
	typeRegular: 1, typeFolder: 2, typeChar: 3, typeBlock: 4, typeFifo: 5, typeSymlink: 7,
}

// putFolders writes all folders, each before those in it.
func (w *Writer) putFolders() error {
	sorted, begins := w.byFolder()
	type place struct{ dir, parent Inode }
	for todo := []place{{Root, Root}}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		in := sorted[begins[p.dir]:begins[p.dir+1]]
		if err := w.putFolder(p.dir, p.parent, in); err != nil {
			return err
		}
		for _, k := range slices.Backward(in) {
			if i := w.entries.At(int(k)).inode; w.inode(i).is(typeFolder) {
				todo = append(todo, place{i, p.dir})
			}
		}
	}
	return nil
}

// byFolder sorts the entries by their folder and in it by inode, as e2fsck does, then by
// name. Those of the folder i are sorted[begins[i]:begins[i+1]].
func (w *Writer) byFolder() (sorted, begins []uint32) {
	begins = make([]uint32, w.last()+2)
	for k := range w.entries.Len() {
		begins[w.entries.At(k).dir+1]++
	}
	for i := range begins[1:] {
		begins[i+1] += begins[i]
	}
	sorted = make([]uint32, w.entries.Len())
	next := slices.Clone(begins)
	for k := range w.entries.Len() {
		dir := w.entries.At(k).dir
		sorted[next[dir]] = uint32(k)
		next[dir]++
	}
	order := func(x, y uint32) int {
		a, b := w.entries.At(int(x)), w.entries.At(int(y))
		if c := cmp.Compare(a.inode, b.inode); c != 0 {
			return c
		}
		return bytes.Compare(w.names.Bytes(a.name), w.names.Bytes(b.name))
	}
	for i := range begins[1:] {
		in := sorted[begins[i]:begins[i+1]]
		if !slices.IsSortedFunc(in, order) {
			slices.SortFunc(in, order)
		}
	}
	return sorted, begins
}

func (w *Writer) putFolder(dir, parent Inode, in []uint32) error {
	begin := w.pos
	n := w.inode(dir)
	n.data = w.block()
	if err := w.putEntry(dir, []byte(".")); err != nil {
		return err
	}
	if err := w.putEntry(parent, []byte("..")); err != nil {
		return err
	}
	for _, k := range in {
		e := w.entries.At(int(k))
		if err := w.putEntry(e.inode, w.names.Bytes(e.name)); err != nil {
			return err
		}
	}
	if err := w.endBlock(); err != nil {
		return err
	}
	n.size = w.pos - begin
	if n.size > MaxFile {
		return ErrFile
	}
	return w.putLeaf(n)
}

func (w *Writer) putEntry(i Inode, name []byte) error {
	size := (entryHeader + len(name) + 3) &^ 3
	if left := BlockSize - int(w.pos%BlockSize); left < size+blockTail {
		if err := w.endBlock(); err != nil {
			return err
		}
	}
	var b [entryHeader + 256]byte
	binary.LittleEndian.PutUint32(b[:], uint32(i))
	binary.LittleEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = uint8(len(name)), fileTypes[w.inode(i).mode&typeMask]
	copy(b[entryHeader:], name)
	return w.put(b[:size])
}

// endBlock fills a folder's block with an empty entry.
func (w *Writer) endBlock() error {
	left := BlockSize - int(w.pos%BlockSize)
	var b [BlockSize]byte
	binary.LittleEndian.PutUint16(b[4:], uint16(left))
	return w.put(b[:left])
}
