package rotatelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/porthole-run/porthole/internal/appendfile"
)

// retryPart is the part of MaxBytes after which a rotation that failed is tried again.
const retryPart = 16

// Config says where and how much.
type Config struct {
	Path     string
	MaxBytes int64 // of one file; a longer single write makes a longer file
	Keep     int   // older files that are kept
}

// Writer is the log.
type Writer struct {
	config Config                                                // immutable after Open
	rename func(from, to string) error                           // immutable after Open; os.Rename
	open   func(path string, mode fs.FileMode) (*os.File, error) // immutable after Open

	mu   sync.Mutex // guards what follows
	file *os.File   // nil after Close, and while it cannot be opened
	size int64
	next int64 // the size at which to rotate
	done bool
}

// Open opens the log and its folder, which is made when it is missing.
func Open(c Config) (*Writer, error) {
	w := &Writer{config: c, rename: os.Rename, open: appendfile.Open}
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o750); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := w.reopen(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return w, nil
}

func (w *Writer) reopen() error {
	f, err := w.open(w.config.Path, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", w.config.Path)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.size, w.next = f, st.Size(), w.config.MaxBytes
	return nil
}

// Write writes p, which should be whole lines, into one file.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return 0, fs.ErrClosed
	}
	if w.file != nil && w.size > 0 && w.size+int64(len(p)) > w.next {
		w.rotate()
	}
	if w.file == nil {
		if err := w.reopen(); err != nil {
			return 0, fmt.Errorf("write log: %w", err)
		}
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

// rotate begins a new file. When that does not work the old one goes on, and the next
// try is some lines later.
func (w *Writer) rotate() {
	name := func(n int) string { return w.config.Path + "." + strconv.Itoa(n) }
	// Closed first: on Windows a directory entry can stay until the last handle closes.
	_ = w.file.Close()
	w.file = nil
	var err error
	if w.config.Keep > 0 {
		for n := w.config.Keep - 1; n > 0 && err == nil; n-- {
			if err = w.rename(name(n), name(n+1)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		if err == nil {
			err = w.rename(w.config.Path, name(1))
		}
	} else {
		err = os.Remove(w.config.Path)
	}
	if w.reopen() == nil && err != nil && w.size > 0 {
		w.next = w.size + max(w.config.MaxBytes/retryPart, 1)
	}
}

// Close closes the file. It may be called again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
