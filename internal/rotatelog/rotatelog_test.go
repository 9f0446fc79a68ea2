package rotatelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openTest(t *testing.T, c Config) *Writer {
	t.Helper()
	c.Path = filepath.Join(t.TempDir(), "d", "x.log")
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func write(t *testing.T, w *Writer, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if n, err := fmt.Fprintln(w, l); err != nil || n != len(l)+1 {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
}

// contents maps the log's files, without the path they share, to what is in them.
func contents(t *testing.T, w *Writer) map[string]string {
	t.Helper()
	files, err := filepath.Glob(w.config.Path + "*")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(f, w.config.Path)] = strings.ReplaceAll(string(data), "\n", ";")
	}
	return out
}

func TestWrite_Rotates(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 8, Keep: 2})
	write(t, w, "aaa", "bbb") // 8 bytes: full
	if diff := cmp.Diff(map[string]string{"": "aaa;bbb;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	write(t, w, "ccc", "a line that is longer than a file", "ddd", "eee", "fff")
	want := map[string]string{"": "fff;", ".1": "ddd;eee;", ".2": "a line that is longer than a file;"}
	if diff := cmp.Diff(want, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrite_KeepsNone(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 4})
	write(t, w, "aaa", "bbb")
	if diff := cmp.Diff(map[string]string{"": "bbb;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpen_GoesOn(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 8, Keep: 1})
	write(t, w, "aaa")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close = %v", err)
	}
	again, err := Open(w.config)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	write(t, again, "bbb", "ccc")
	if diff := cmp.Diff(map[string]string{"": "ccc;", ".1": "aaa;bbb;"}, contents(t, again)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWrite_RenameRefused is a reader on Windows that keeps the file from being renamed:
// lines go on into the file, and the rotation is made later.
func TestWrite_RenameRefused(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 16, Keep: 1})
	tries := 0
	w.rename = func(from, to string) error {
		if tries++; tries < 3 {
			return errors.New("sharing violation")
		}
		return os.Rename(from, to)
	}
	write(t, w, "aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd")
	if diff := cmp.Diff(map[string]string{"": "aaaaaaa;bbbbbbb;ccccccc;ddddddd;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	write(t, w, "eeeeeee")
	if diff := cmp.Diff(map[string]string{"": "eeeeeee;", ".1": "aaaaaaa;bbbbbbb;ccccccc;ddddddd;"}, contents(t, w)); diff != "" || tries != 3 {
		t.Errorf("%d tries (-want +got):\n%s", tries, diff)
	}
}

// TestWrite_OpenRefused loses what cannot be written, says so, and goes on afterwards.
func TestWrite_OpenRefused(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 4, Keep: 1})
	write(t, w, "aaa")
	open := w.open
	w.open = func(string, fs.FileMode) (*os.File, error) { return nil, fs.ErrPermission }
	if _, err := w.Write([]byte("bbb\n")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Write = %v, want ErrPermission", err)
	}
	w.open = open
	write(t, w, "ccc")
	if diff := cmp.Diff(map[string]string{"": "ccc;", ".1": "aaa;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrite_Concurrently(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 1000, Keep: 100})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				fmt.Fprintf(w, "line %d\n", i)
			}
		})
	}
	wg.Wait()
	lines := 0
	for name, text := range contents(t, w) {
		lines += strings.Count(text, ";")
		if len(text) > 1000 {
			t.Errorf("%q has %d bytes", name, len(text))
		}
	}
	if lines != 800 {
		t.Errorf("%d lines, want 800", lines)
	}
}

func TestOpen_Refuses(t *testing.T) {
	if _, err := Open(Config{Path: t.TempDir(), MaxBytes: 1}); err == nil {
		t.Error("Open of a folder succeeded")
	}
}
