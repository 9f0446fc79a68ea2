package crilog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/appendfile"
)

const (
	// DefaultMaxLineBytes is the limit above which lines are split, the same as
	// containerd's, as readers size their buffers by it.
	DefaultMaxLineBytes = 16 * 1024
	// DefaultMode lets the owner write and the group read.
	DefaultMode fs.FileMode = 0o640

	dirMode fs.FileMode = 0o755
	// flushBytes bounds what one write call carries and so what a Log buffers.
	flushBytes = 64 * 1024
)

// Options say how a Log writes; the zero value is good.
type Options struct {
	// MaxLineBytes is the longest text of one record; DefaultMaxLineBytes when 0.
	MaxLineBytes int
	// Mode is the mode of a new file; DefaultMode when 0. The umask applies.
	Mode fs.FileMode
	// Dir is a folder that the log is in, and that no link in it leads out of: others may
	// write there. Links on the way to Dir are followed. Empty: any links are, but one at the
	// log's path itself.
	Dir string
	// Logger gets one line when records start to be dropped and one when that ends;
	// nil: none.
	Logger *slog.Logger
}

// file is the part of os.File that a Log needs.
type file interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// Log is one container's log file.
type Log struct {
	path    string       // immutable after Open
	dir     string       // immutable after Open
	maxLine int          // immutable after Open
	mode    fs.FileMode  // immutable after Open
	logger  *slog.Logger // immutable after Open
	stdout  stream       // its fields are guarded by mu
	stderr  stream       // its fields are guarded by mu
	openFn  func() (file, error)

	mu      sync.Mutex // guards all below
	f       file       // nil after Close
	buf     []byte     // records that wait to be written in one call
	stamp   []byte     // the time of the records of this write
	ends    []int      // where each record in buf ends
	torn    bool       // the file ends within a record: start with a newline
	outage  int64      // records dropped since the last good write
	dropped Dropped
}

// Dropped counts what could not be written.
type Dropped struct {
	Records int64
	Bytes   int64 // of records, with their time and tag
}

// Open opens the log at path for appending, and makes it and its parents when they
// are not there. It does not follow a symbolic link at path itself. A path that is
// there but no regular file, or leads out of Options.Dir, is a FailedPrecondition error.
func Open(path string, o Options) (*Log, error) {
	l := &Log{path: path, dir: o.Dir, maxLine: o.MaxLineBytes, mode: o.Mode, logger: o.Logger}
	if l.maxLine <= 0 {
		l.maxLine = DefaultMaxLineBytes
	}
	if l.mode == 0 {
		l.mode = DefaultMode
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.openFn = l.open
	l.stdout = stream{log: l, tag: " stdout "}
	l.stderr = stream{log: l, tag: " stderr "}
	f, err := l.openFn()
	if err != nil {
		return nil, err
	}
	l.f = f
	return l, nil
}

func (l *Log) open() (file, error) {
	openFile := l.openAnywhere
	if l.dir != "" {
		openFile = l.openInDir
	}
	f, err := openFile()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = l.checkRegular(fi)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

func (l *Log) openAnywhere() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(l.path), dirMode); err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(l.path); err == nil {
		if err := l.checkRegular(fi); err != nil {
			return nil, err
		}
	}
	return appendfile.Open(l.path, l.mode)
}

func (l *Log) openInDir() (*os.File, error) {
	if err := os.MkdirAll(l.dir, dirMode); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name, err := filepath.Rel(l.dir, l.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	folder := filepath.Dir(name)
	if fi, err := root.Stat(folder); folder != "." && (err != nil || !fi.IsDir()) {
		if err := root.MkdirAll(folder, dirMode); err != nil {
			return nil, l.outside(err)
		}
	}
	if fi, err := root.Lstat(name); err == nil {
		if err := l.checkRegular(fi); err != nil {
			return nil, err
		}
	}
	f, err := appendfile.OpenIn(root, name, l.mode)
	if err != nil {
		return nil, l.outside(err)
	}
	return f, nil
}

// outside says of an error of os.Root what kind it is. What leads out has no errno.
func (l *Log) outside(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return err
	}
	return fmt.Errorf("%s leads out of %s: %w: %w", l.path, l.dir, err, errdefs.ErrFailedPrecondition)
}

func (l *Log) checkRegular(fi fs.FileInfo) error {
	what := "something else"
	switch fi.Mode().Type() {
	case 0:
		return nil
	case fs.ModeDir:
		what = "a folder"
	case fs.ModeSymlink:
		what = "a link"
	}
	return fmt.Errorf("%s is %s, not a regular file: %w", l.path, what, errdefs.ErrFailedPrecondition)
}

// Stdout returns the writer of the container's standard output. Write always takes
// all of its input; its only error is fs.ErrClosed, after Close.
func (l *Log) Stdout() io.Writer { return &l.stdout }

// Stderr is like Stdout, for standard error.
func (l *Log) Stderr() io.Writer { return &l.stderr }

// Reopen opens the path anew and goes on there: the way to rotate a log is to rename
// it, then Reopen. No record is lost or torn: what is written before Reopen returns
// may be in either file, what is written after is in the new one. On error the Log
// goes on with the file that it has.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return fmt.Errorf("reopen log %s: %w", l.path, fs.ErrClosed)
	}
	f, err := l.openFn()
	if err != nil {
		return err
	}
	old := l.f
	l.f, l.torn = f, false
	if err := old.Close(); err != nil {
		return fmt.Errorf("reopen log: close old file: %w", err)
	}
	return nil
}

// Flush records what there is of unfinished lines, as parts: once the process has
// exited, no more of them comes.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return fmt.Errorf("flush log %s: %w", l.path, fs.ErrClosed)
	}
	l.finish()
	return nil
}

// finish records unfinished lines. The caller holds mu.
func (l *Log) finish() {
	l.stampNow()
	l.stdout.finish()
	l.stderr.finish()
	l.flush()
}

// Close writes what is left of unfinished lines and closes the file. Again is not an
// error.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	l.finish()
	f := l.f
	l.f = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// Dropped returns what was dropped since Open because it could not be written.
func (l *Log) Dropped() Dropped {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// stampNow sets the time of the records that follow. The caller holds mu.
func (l *Log) stampNow() {
	l.stamp = time.Now().UTC().AppendFormat(l.stamp[:0], time.RFC3339Nano)
}

// flush writes the waiting records in one call. The caller holds mu.
func (l *Log) flush() {
	if len(l.buf) == 0 {
		return
	}
	defer func() { l.buf, l.ends = l.buf[:0], l.ends[:0] }()
	if l.torn {
		// The torn record could not be cut off: end its line, so that it spoils no other.
		if _, err := l.f.Write([]byte{'\n'}); err != nil {
			l.drop(0, err)
			return
		}
		l.torn = false
	}
	n, err := l.f.Write(l.buf)
	if err == nil && n < len(l.buf) {
		err = io.ErrShortWrite
	}
	if err == nil {
		l.recovered()
		return
	}
	whole, end := 0, 0 // the records that were written whole, and where they end
	for whole < len(l.ends) && l.ends[whole] <= n {
		end = l.ends[whole]
		whole++
	}
	if n > end {
		l.torn = l.cut(int64(n-end)) != nil
	}
	l.drop(whole, err)
}

// cut takes the last n bytes off the file.
func (l *Log) cut(n int64) error {
	fi, err := l.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() < n {
		return nil // truncated by someone else: nothing is torn
	}
	return l.f.Truncate(fi.Size() - n)
}

// drop counts the waiting records from the given one on.
func (l *Log) drop(from int, cause error) {
	start := 0
	if from > 0 {
		start = l.ends[from-1]
	}
	if l.outage == 0 {
		l.logger.Warn("container log cannot be written, dropping records", "path", l.path, "error", cause)
	}
	n := int64(len(l.ends) - from)
	l.outage += n
	l.dropped.Records += n
	l.dropped.Bytes += int64(len(l.buf) - start)
}

func (l *Log) recovered() {
	if l.outage == 0 {
		return
	}
	l.logger.Warn("container log can be written again", "path", l.path, "dropped_records", l.outage)
	l.outage = 0
}

var errClosed = fmt.Errorf("write log: %w", fs.ErrClosed)
