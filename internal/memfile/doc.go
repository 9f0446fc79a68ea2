// Package memfile makes files that are memory (memfd on Linux) and closes them for good
// against changes. It is not for files that anything is to find by a path.
//
// A file lives as long as a process has it open or mapped. Functions are safe for
// concurrent use, a file is as safe as any.
package memfile

import "os"

// New makes a file of size bytes, all zero, that any process it is passed to can open
// again through /proc for reading and writing. name is for people.
func New(name string, size int64) (*os.File, error) { return newFile(name, size) }

// Seal makes the file's content and size unchangeable, through whatever descriptor or
// mapping, for ever. It fails while the file is mapped for shared writing. Private
// mappings may still be written: that goes to copies of the pages.
func Seal(f *os.File) error { return seal(f) }

// Dup returns another descriptor of the file. Both share one offset.
func Dup(f *os.File) (*os.File, error) { return dup(f) }

// Allocated is how many bytes of memory the file holds: pages that were never written
// hold none.
func Allocated(f *os.File) (int64, error) { return allocated(f) }
