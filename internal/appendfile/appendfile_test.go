package appendfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestOpen_RenamedAndDeleted does to an open file what rotation does.
func TestOpen_RenamedAndDeleted(t *testing.T) {
	t.Run("Open", func(t *testing.T) { renamedAndDeleted(t, Open) })
	t.Run("OpenIn", func(t *testing.T) {
		renamedAndDeleted(t, func(path string, mode fs.FileMode) (*os.File, error) {
			root, err := os.OpenRoot(filepath.Dir(path))
			if err != nil {
				return nil, err
			}
			defer root.Close()
			return OpenIn(root, filepath.Base(path), mode)
		})
	})
}

func renamedAndDeleted(t *testing.T, open func(string, fs.FileMode) (*os.File, error)) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "x.log"), filepath.Join(dir, "x.log.1")
	f, err := open(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	again, err := open(path, 0o640) // of another process, as it were
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.WriteString("b"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, old); err != nil {
		t.Fatalf("rename the open file: %v", err)
	}
	write("c")
	if got, err := os.ReadFile(old); err != nil || string(got) != "abc" {
		t.Errorf("renamed file = %q, %v, want abc", got, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name is there: %v", err)
	}
	if err := os.Remove(old); err != nil {
		t.Errorf("delete the open file: %v", err)
	}
	write("d")
}

func TestOpen_Missing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no", "x.log"), 0o640); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open below a folder that is not there = %v, want ErrNotExist", err)
	}
}
