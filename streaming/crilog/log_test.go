package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLog(t *testing.T) {
	long := strings.Repeat("x", 8)
	tests := []struct {
		name   string
		writes []string // "1..." to stdout, "2..." to stderr
		want   string   // without times
	}{
		{"nothing", nil, ""},
		{"empty_write", []string{"1"}, ""},
		{"line", []string{"1hello\n"}, "stdout F hello\n"},
		{"empty_line", []string{"1\n\n"}, "stdout F \nstdout F \n"},
		{"lines", []string{"1a\nb\n"}, "stdout F a\nstdout F b\n"},
		{"in_pieces", []string{"1he", "1ll", "1o\nyou\n"}, "stdout F hello\nstdout F you\n"},
		{"at_limit", []string{"1" + long + "\n"}, "stdout F " + long + "\n"},
		{"over_limit", []string{"1" + long + "y\n"}, "stdout P " + long + "\nstdout F y\n"},
		{"over_limit_twice", []string{"1" + long + long + "y\n"}, "stdout P " + long + "\nstdout P " + long + "\nstdout F y\n"},
		{"limit_in_pieces", []string{"1xxxx", "1xxxx", "1\n"}, "stdout F " + long + "\n"},
		{"over_limit_in_pieces", []string{"1xxxx", "1xxxxy", "1y\n"}, "stdout P " + long + "\nstdout F yy\n"},
		{"unfinished", []string{"1hello"}, "stdout P hello\n"},
		{"unfinished_both", []string{"2err", "1out"}, "stdout P out\nstderr P err\n"},
		{"interleaved", []string{"1a", "2b\n", "1c\n"}, "stderr F b\nstdout F ac\n"},
		{"carriage_return_and_nul", []string{"1a\r\n\x00\n"}, "stdout F a\r\nstdout F \x00\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pod", "ctr", "0.log")
			l, err := Open(path, Options{MaxLineBytes: 8})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range tt.writes {
				out := l.Stdout()
				if w[0] == '2' {
					out = l.Stderr()
				}
				if n, err := io.WriteString(out, w[1:]); n != len(w)-1 || err != nil {
					t.Errorf("Write(%q) = %d, %v", w[1:], n, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			var got strings.Builder
			for _, r := range records(t, readFile(t, path)) {
				fmt.Fprintf(&got, "%s %s %s\n", r.stream, r.tag, r.text)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		l, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(l.Stdout(), "a\nb\nc")
		time.Sleep(1500 * time.Millisecond)
		io.WriteString(l.Stdout(), "d\n")
		time.Sleep(time.Nanosecond)
		io.WriteString(l.Stderr(), "e")
		time.Sleep(time.Second)
		l.Close()
		want := "2000-01-01T00:00:00Z stdout F a\n" +
			"2000-01-01T00:00:00Z stdout F b\n" +
			"2000-01-01T00:00:01.5Z stdout F cd\n" +
			"2000-01-01T00:00:02.500000001Z stderr P e\n"
		if diff := cmp.Diff(want, readFile(t, path)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestOpen_AppendsWithMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	for range 2 {
		l, err := Open(path, Options{Mode: 0o600})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(l.Stdout(), "x\n")
		l.Close()
	}
	if n := len(records(t, readFile(t, path))); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", fi.Mode(), err)
	}
}

func TestClose(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "0.log"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if _, err := l.Stdout().Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close = %v, want ErrClosed", err)
	}
	if err := l.Reopen(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Reopen after Close = %v, want ErrClosed", err)
	}
}

// TestReopen_UnderLoad rotates as the kubelet does while both streams write.
func TestReopen_UnderLoad(t *testing.T) {
	const lines, rotations = 5000, 20
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	l, err := Open(path, Options{MaxLineBytes: 16})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, w := range []io.Writer{l.Stdout(), l.Stderr()} {
		writers.Go(func() {
			for i := range lines {
				fmt.Fprintf(w, "line %06d and", i)
				fmt.Fprintf(w, " what is over the limit\n")
			}
		})
	}
	var old []string
	for i := range rotations {
		name := fmt.Sprintf("%s.%02d", path, i)
		if err := os.Rename(path, name); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		old = append(old, name)
	}
	writers.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range append(old, path) {
		all.WriteString(readFile(t, name))
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %06d and what is over the limit\n", i)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if got := joined(records(t, all.String()), stream); got != want.String() {
			t.Errorf("%s differs: %d bytes, want %d", stream, len(got), want.Len())
		}
	}
}

func TestReopen_KeepsOldFileOnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	moved := path + ".1"
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Fatal("Reopen of a directory succeeded")
	}
	io.WriteString(l.Stdout(), "still here\n")
	l.Close()
	if got := joined(records(t, readFile(t, moved)), "stdout"); got != "still here\n" {
		t.Errorf("log = %q", got)
	}
}

// fullDisk is a file on a disk with little room.
type fullDisk struct {
	bytes.Buffer
	room  int
	noCut bool
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *fullDisk) Truncate(size int64) error {
	if d.noCut {
		return syscall.EIO
	}
	d.Buffer.Truncate(int(size))
	return nil
}

func (d *fullDisk) Stat() (fs.FileInfo, error) { return diskInfo{size: int64(d.Len())}, nil }
func (d *fullDisk) Close() error               { return nil }

type diskInfo struct {
	fs.FileInfo
	size int64
}

func (i diskInfo) Size() int64 { return i.size }

func TestFullDisk(t *testing.T) {
	const record = len("2000-01-01T00:00:00Z stdout F 1\n")
	for _, noCut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut_fails_%t", noCut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &fullDisk{room: 2*record + 5, noCut: noCut}
				var logged bytes.Buffer
				l := newFake(disk, slog.New(slog.NewTextHandler(&logged, nil)))
				for _, s := range []string{"1\n2\n3\n4\n", "5\n"} { // 3 is torn, 4 and 5 find no room
					if n, err := io.WriteString(l.Stdout(), s); n != len(s) || err != nil {
						t.Errorf("Write = %d, %v, want all taken", n, err)
					}
				}
				if got, want := l.Dropped().Records, int64(3); got != want {
					t.Errorf("dropped %d records, want %d", got, want)
				}
				disk.room = 1 << 20
				io.WriteString(l.Stdout(), "6\n")
				l.Close()
				var got strings.Builder
				for _, line := range strings.SplitAfter(disk.String(), "\n") {
					if len(line) == record {
						got.WriteString(line[record-2 : record-1])
					}
				}
				if got.String() != "126" {
					t.Errorf("whole records %q, want 126, in:\n%s", got.String(), disk.String())
				}
				if n := strings.Count(logged.String(), "\n"); n != 2 {
					t.Errorf("logged %d lines, want one at the start and one at the end:\n%s", n, logged.String())
				}
				if !strings.Contains(logged.String(), "dropped_records=3") {
					t.Errorf("the end of the outage does not tell the count:\n%s", logged.String())
				}
			})
		})
	}
}

func newFake(f file, logger *slog.Logger) *Log {
	l := &Log{path: "fake", maxLine: DefaultMaxLineBytes, logger: logger, f: f}
	l.openFn = func() (file, error) { return f, nil }
	l.stdout = stream{log: l, tag: " stdout "}
	l.stderr = stream{log: l, tag: " stderr "}
	return l
}

type record struct{ stream, tag, text string }

// records parses a log as the kubelet does.
func records(t testing.TB, log string) []record {
	t.Helper()
	var rs []record
	for line := range strings.Lines(log) {
		text, ok := strings.CutSuffix(line, "\n")
		fields := strings.SplitN(text, " ", 4)
		if !ok || len(fields) != 4 {
			t.Fatalf("torn record %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, fields[0]); err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		rs = append(rs, record{fields[1], fields[2], fields[3]})
	}
	return rs
}

// joined gives back what was written to a stream.
func joined(rs []record, stream string) string {
	var b strings.Builder
	for _, r := range rs {
		if r.stream != stream {
			continue
		}
		b.WriteString(r.text)
		if r.tag == "F" {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLog_Flush: what a process left unfinished is in the log once it has exited, and
// a log goes on after it.
func TestLog_Flush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(l.Stdout(), "whole\nno newline"); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(text), "\n"); len(lines) != 3 || !strings.HasSuffix(lines[1], " stdout P no newline") {
		t.Errorf("log after Flush: %q", text)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Flush after Close = %v, want ErrClosed", err)
	}
}

// TestOpen_MakesFolders: below its folder a log's own are made, and used when they are there.
func TestOpen_MakesFolders(t *testing.T) {
	base := filepath.Join(t.TempDir(), "pod")
	for _, dir := range []string{"", base} {
		for _, name := range []string{"x.log", "c/x.log", "c/x.log", "c/d/e/x.log"} {
			l, err := Open(filepath.Join(base, filepath.FromSlash(name)), Options{Dir: dir})
			if err != nil {
				t.Errorf("Open(%s) below %q = %v", name, dir, err)
				continue
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
