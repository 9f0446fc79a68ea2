package filesum

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if _, err := SHA256(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SHA256(missing) = %v, want ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, err := SHA256(path); err != nil || got != want {
		t.Errorf("SHA256 = %s, %v, want %s", got, err, want)
	}
	if _, err := SHA256(t.TempDir()); err == nil {
		t.Error("SHA256 of a folder: no error")
	}
}
