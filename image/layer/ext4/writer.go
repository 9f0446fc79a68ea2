package ext4

import (
	"errors"
	"fmt"
	"io"
)

const (
	// BlockSize is the size of a block, in bytes.
	BlockSize = 4096
	// bufferSize is how much is written at once, where a multiple of it begins.
	bufferSize = 512 << 10
	// MaxFile is the largest file: what one block of extents can tell of.
	MaxFile = (leafExtents - 1) * extentBlocks * BlockSize
)

// Reasons to refuse what a Writer is told. They are the caller's fault, or its input's.
var (
	ErrTooLarge = errors.New("file system is too large")
	ErrFile     = errors.New("file is too large")
	ErrLinks    = errors.New("too many links")
	ErrContent  = errors.New("content has not the size that was told")
)

// Writer writes one file system. After an error of its output all that it does fails.
type Writer struct {
	out   io.WriterAt
	names *Names
	max   int64 // of the file system, in bytes

	buf []byte // what was written last, not yet in out
	pos int64  // where the next byte goes
	err error  // of out

	inodes  List[inode] // from firstInode on
	root    inode
	more    List[more]
	entries List[entry]

	manyFolders      bool   // in one folder: readers have to know that links are not counted
	descriptorBlocks uint32 // that are kept free for group descriptors
	probe            [1]byte
	content          Inode // the file that content is written of; 0: none
	missing          int64 // of that content
}

// NewWriter returns a Writer of a file system of max bytes at most to out, which holds
// nothing but zeros, and is written once from its start to its end but for small pieces.
// Names of files, and short targets of symlinks, are in names.
func NewWriter(out io.WriterAt, names *Names, max int64) (*Writer, error) {
	w := &Writer{out: out, names: names, max: (max + BlockSize - 1) / BlockSize * BlockSize}
	w.buf = make([]byte, 0, bufferSize)
	w.descriptorBlocks = (groupsFor(blocks(w.max))-1)/descriptorsPerBlock + 1
	w.pos = int64(1+w.descriptorBlocks) * BlockSize
	w.root = inode{mode: typeFolder | 0o755, links: 2}
	name, err := names.Add("lost+found") // e2fsck wants it, as the first
	if err != nil {
		return nil, err
	}
	_, err = w.AddFolder(Root, name, Attr{Mode: 0o700})
	return w, err
}

// inode returns what is kept of an inode that is not reserved, or of Root.
func (w *Writer) inode(i Inode) *inode {
	if i == Root {
		return &w.root
	}
	return w.inodes.At(int(i - firstInode))
}

// last is the highest inode in use.
func (w *Writer) last() Inode { return firstInode + Inode(w.inodes.Len()) - 1 }

// AddFolder makes an empty folder in dir.
func (w *Writer) AddFolder(dir Inode, name Name, a Attr) (Inode, error) {
	i, err := w.add(dir, name, typeFolder, a)
	if err != nil {
		return 0, err
	}
	w.inode(i).links++ // its own "."
	switch parent := w.inode(dir); {
	case parent.links == maxLinks:
		parent.links, w.manyFolders = 1, true // more than can be counted
	case parent.links > 1:
		parent.links++
	}
	return i, nil
}

// SetFolder tells anew of a folder: a takes the place of all that was told before.
func (w *Writer) SetFolder(folder Inode, a Attr) error {
	if err := w.finish(); err != nil {
		return err
	}
	return w.setAttr(w.inode(folder), a)
}

// AddFile makes a file of size bytes in dir; they are written next.
func (w *Writer) AddFile(dir Inode, name Name, a Attr, size int64) (Inode, error) {
	if size < 0 || size > MaxFile {
		return 0, ErrFile
	}
	i, err := w.add(dir, name, typeRegular, a)
	if err != nil {
		return 0, err
	}
	return i, w.begin(i, size)
}

// AddSymlink makes a symlink in dir; its target is in the Writer's Names.
func (w *Writer) AddSymlink(dir Inode, name Name, a Attr, target Name) (Inode, error) {
	a.Mode |= 0o777
	i, err := w.add(dir, name, typeSymlink, a)
	if err != nil {
		return 0, err
	}
	text := w.names.Bytes(target)
	if n := w.inode(i); len(text) <= shortSymlink {
		n.data, n.size = uint32(target), int64(len(text))
		return i, nil
	}
	if err := w.begin(i, int64(len(text))); err != nil {
		return 0, err
	}
	_, err = w.Write(text)
	return i, err
}

// AddCharDevice makes a character device in dir. Device numbers have 12 and 20 bits.
func (w *Writer) AddCharDevice(dir Inode, name Name, a Attr, major, minor uint32) (Inode, error) {
	return w.addDevice(dir, name, typeChar, a, major, minor)
}

// AddBlockDevice makes a block device in dir. Device numbers have 12 and 20 bits.
func (w *Writer) AddBlockDevice(dir Inode, name Name, a Attr, major, minor uint32) (Inode, error) {
	return w.addDevice(dir, name, typeBlock, a, major, minor)
}

func (w *Writer) addDevice(dir Inode, name Name, kind uint16, a Attr, major, minor uint32) (Inode, error) {
	i, err := w.add(dir, name, kind, a)
	if err != nil {
		return 0, err
	}
	w.inode(i).data = minor&0xff | major<<8 | minor&^0xff<<12
	return i, nil
}

// AddFifo makes a named pipe in dir.
func (w *Writer) AddFifo(dir Inode, name Name, a Attr) (Inode, error) {
	return w.add(dir, name, typeFifo, a)
}

// AddLink gives a file that is no folder one more name.
func (w *Writer) AddLink(dir Inode, name Name, to Inode) error {
	if err := w.finish(); err != nil {
		return err
	}
	n := w.inode(to)
	if n.links >= maxLinks {
		return ErrLinks
	}
	n.links++
	w.entries.Append(entry{dir: dir, name: name, inode: to})
	return nil
}

// add makes an inode with one name.
func (w *Writer) add(dir Inode, name Name, kind uint16, a Attr) (Inode, error) {
	if err := w.finish(); err != nil {
		return 0, err
	}
	n := inode{mode: kind, links: 1}
	if err := w.setAttr(&n, a); err != nil {
		return 0, err
	}
	w.inodes.Append(n)
	i := w.last()
	w.entries.Append(entry{dir: dir, name: name, inode: i})
	return i, nil
}

func (w *Writer) setAttr(n *inode, a Attr) error {
	n.mode = n.mode&typeMask | a.Mode&^typeMask
	n.uid, n.gid, n.mtime = a.UID, a.GID, a.Mtime
	if n.more == 0 {
		if a.Atime == 0 && a.Ctime == 0 && len(a.Xattrs) == 0 {
			return nil
		}
		n.more = uint32(w.more.Append(more{})) + 1
	}
	m := w.more.At(int(n.more - 1))
	m.atime, m.ctime = a.Atime, a.Ctime
	return w.setXattrs(m, a.Xattrs)
}

// begin says whose content is written next.
func (w *Writer) begin(i Inode, size int64) error {
	if w.pos+size > w.max {
		return w.tooLarge()
	}
	n := w.inode(i)
	n.data, n.size = w.block(), size
	w.content, w.missing = i, size
	return nil
}

// Write writes content of the file that was added last.
func (w *Writer) Write(b []byte) (int, error) {
	if int64(len(b)) > w.missing {
		return 0, ErrContent
	}
	if err := w.put(b); err != nil {
		return 0, err
	}
	w.missing -= int64(len(b))
	return len(b), nil
}

// ReadFrom writes content of the file that was added last, until r ends.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var n int64
	for {
		if w.err != nil {
			return n, w.err
		}
		room := w.room()
		if int64(len(room)) > w.missing {
			room = room[:w.missing]
		}
		if w.missing == 0 {
			room = w.probe[:] // there must be no more
		}
		k, err := r.Read(room)
		if int64(k) > w.missing {
			return n, ErrContent
		}
		w.missing -= int64(k)
		n += int64(k)
		if ferr := w.filled(k); ferr != nil {
			return n, ferr
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// finish ends the content that is being written.
func (w *Writer) finish() error {
	if w.err != nil || w.content == 0 {
		return w.err
	}
	if w.missing > 0 {
		return ErrContent
	}
	n := w.inode(w.content)
	w.content = 0
	if err := w.align(); err != nil {
		return err
	}
	return w.putLeaf(n)
}

// putLeaf writes an inode's extents behind its content, where the inode has no room for them.
func (w *Writer) putLeaf(n *inode) error {
	used := blocks(n.size)
	if extents(used) <= rootExtents {
		return nil
	}
	var b [BlockSize]byte
	putLeaf(b[:], leafExtents, n.data, used)
	return w.put(b[:])
}

// block is the number of the block that is written next.
func (w *Writer) block() uint32 { return uint32(w.pos / BlockSize) }

var zeros [BlockSize]byte

// align writes zeros until a block begins.
func (w *Writer) align() error {
	if over := w.pos % BlockSize; over != 0 {
		return w.put(zeros[over:])
	}
	return w.err
}

// put writes b behind all that was written.
func (w *Writer) put(b []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.pos+int64(len(b)) > w.max {
		return w.tooLarge()
	}
	for len(b) > 0 {
		n := copy(w.room(), b)
		b = b[n:]
		if err := w.filled(n); err != nil {
			return err
		}
	}
	return nil
}

// room is what is free in the buffer, which is never nothing.
func (w *Writer) room() []byte {
	n := len(w.buf)
	return w.buf[n : n+bufferSize-int(w.pos%bufferSize)]
}

// filled says that n bytes of room are filled.
func (w *Writer) filled(n int) error {
	w.buf = w.buf[:len(w.buf)+n]
	w.pos += int64(n)
	if w.pos%bufferSize == 0 {
		return w.flush()
	}
	return nil
}

func (w *Writer) tooLarge() error {
	w.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, w.max)
	return w.err
}

// flush hands the buffer over to the output.
func (w *Writer) flush() error {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.out.WriteAt(w.buf, w.pos-int64(len(w.buf)))
		w.buf = w.buf[:0]
	}
	return w.err
}

// rewrite writes b where something was written, or left out, before.
func (w *Writer) rewrite(at int64, b []byte) error {
	if w.flush() == nil {
		_, w.err = w.out.WriteAt(b, at)
	}
	return w.err
}

// Close writes what tells of the files and returns the size of the file system in bytes,
// which may be a little more than was written: the rest is zeros. It is called once.
func (w *Writer) Close() (int64, error) {
	if err := w.finish(); err != nil {
		return 0, err
	}
	if err := w.putFolders(); err != nil {
		return 0, err
	}
	return w.putGroups()
}
