package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// writers are the functions that write, which differ in what a power cut does.
var writers = map[string]func(path string, data []byte, perm fs.FileMode) error{"Write": Write, "Replace": Replace}

func TestWriteReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for name, write := range writers {
		for _, want := range []string{"one", "", strings.Repeat("x", 1<<16)} {
			if err := write(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != want {
				t.Fatalf("%s: ReadFile = %d bytes, %v; want %d bytes", name, len(got), err, len(want))
			}
		}
	}
}

func TestWriteFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o700); err != nil { // a folder cannot be replaced by a file
		t.Fatal(err)
	}
	for name, write := range writers {
		if err := write(path, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("%s over a folder = %v, want an error that names it", name, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s: entries = %v, %v; want the folder alone", name, entries, err)
		}
		if err := write(filepath.Join(dir, "no", "f"), nil, 0o600); err == nil {
			t.Fatalf("%s into a missing folder succeeded", name)
		}
	}
}

func TestWriteConcurrentIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for _, s := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			if err := Write(path, []byte(strings.Repeat(s, 4096)), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat(string(got[:1]), 4096); string(got) != want {
		t.Fatal("content is a mix of two writes")
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{tempPrefix + "f-123", "keep"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clean(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "keep" {
		t.Fatalf("entries = %v, %v; want keep alone", entries, err)
	}
}
