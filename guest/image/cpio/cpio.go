// Package cpio writes initramfs archives in the "newc" format of cpio.
//
// It is for one purpose: a guest's initrd whose bytes depend on nothing but
// its entries. Entries are sorted, missing parent folders are made, owners
// and times are zero and inode numbers count up from one. It is not a general
// cpio library: it does not read archives and knows no hard links.
//
// The package holds no state; its function may be called from any goroutine.
package cpio

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// File type bits of Entry.Mode, as in stat(2).
const (
	TypeMask    = 0o170000
	TypeFile    = 0o100000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypeSymlink = 0o120000
)

// Entry is one object of an archive.
type Entry struct {
	// Name is the path in the archive, without a leading slash.
	Name string
	// Mode holds one of the Type bits and the permission bits.
	Mode uint32
	// Major and Minor are the device number of a TypeChar entry.
	Major, Minor uint32
	// Body is the content of a file or the target of a symbolic link.
	Body []byte
}

const (
	magic   = "070701"
	trailer = "TRAILER!!!"
)

// Write writes an archive of the entries to w and ends it. Entries may come
// in any order; folders that are only implied by a name are added with mode
// 0755. An invalid name, a name given twice or a body that does not fit the
// type is an InvalidArgument error, and nothing has been written then.
func Write(w io.Writer, entries []Entry) error {
	all, err := complete(entries)
	if err != nil {
		return err
	}
	aw := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	for i, e := range all {
		aw.entry(uint32(i+1), e)
	}
	aw.entry(0, Entry{Name: trailer})
	if aw.err == nil {
		aw.err = aw.w.Flush()
	}
	if aw.err != nil {
		return fmt.Errorf("write archive: %w", aw.err)
	}
	return nil
}

// complete checks the entries and returns them with their parents, sorted so
// that a folder comes before what is in it.
func complete(entries []Entry) ([]Entry, error) {
	byName := make(map[string]Entry, len(entries))
	for _, e := range entries {
		if err := check(e); err != nil {
			return nil, fmt.Errorf("archive entry %q: %w: %w", e.Name, err, errdefs.ErrInvalidArgument)
		}
		if _, twice := byName[e.Name]; twice {
			return nil, fmt.Errorf("archive entry %q: given twice: %w", e.Name, errdefs.ErrInvalidArgument)
		}
		byName[e.Name] = e
	}
	for _, e := range entries {
		for dir := path.Dir(e.Name); dir != "."; dir = path.Dir(dir) {
			parent, ok := byName[dir]
			if !ok {
				byName[dir] = Entry{Name: dir, Mode: TypeDir | 0o755}
			} else if parent.Mode&TypeMask != TypeDir {
				return nil, fmt.Errorf("archive entry %q: parent %q is not a folder: %w", e.Name, dir, errdefs.ErrInvalidArgument)
			}
		}
	}
	all := make([]Entry, 0, len(byName))
	for _, e := range byName {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func check(e Entry) error {
	switch {
	case e.Name == "" || e.Name == "." || e.Name == trailer || path.IsAbs(e.Name) || path.Clean(e.Name) != e.Name,
		e.Name == ".." || strings.HasPrefix(e.Name, "../") || strings.ContainsRune(e.Name, 0):
		return fmt.Errorf("name is not a clean relative path")
	case uint64(len(e.Body)) > math.MaxUint32:
		return fmt.Errorf("body of %d bytes is over 4 GiB", len(e.Body))
	}
	switch e.Mode & TypeMask {
	case TypeFile:
	case TypeSymlink:
		if len(e.Body) == 0 {
			return fmt.Errorf("link has no target")
		}
	case TypeDir, TypeChar:
		if len(e.Body) != 0 {
			return fmt.Errorf("only files and links have a body")
		}
	default:
		return fmt.Errorf("mode %#o has no known file type", e.Mode)
	}
	if e.Mode&TypeMask != TypeChar && (e.Major != 0 || e.Minor != 0) {
		return fmt.Errorf("only devices have a device number")
	}
	return nil
}

// writer keeps the first error, so that the layout reads without branches.
type writer struct {
	w   *bufio.Writer
	err error
}

func (w *writer) entry(ino uint32, e Entry) {
	links := uint32(1)
	if e.Mode&TypeMask == TypeDir {
		links = 2
	}
	fields := [...]uint32{
		ino, e.Mode, 0, 0, links, 0, uint32(len(e.Body)), 0, 0,
		e.Major, e.Minor, uint32(len(e.Name) + 1), 0,
	}
	header := make([]byte, 0, 110)
	header = append(header, magic...)
	for _, f := range fields {
		header = fmt.Appendf(header, "%08x", f)
	}
	w.padded(append(append(header, e.Name...), 0))
	w.padded(e.Body)
}

// padded writes p and the zeros up to the next multiple of four, counted from
// the start of p: a header, a name or a body always starts at such a place.
func (w *writer) padded(p []byte) {
	if w.err != nil {
		return
	}
	if _, w.err = w.w.Write(p); w.err != nil {
		return
	}
	var zero [3]byte
	_, w.err = w.w.Write(zero[:(4-len(p)%4)%4])
}
