package filelock

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(path); !errors.Is(err, ErrHeld) {
		t.Errorf("a second Take = %v, want ErrHeld", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Take(path)
	if err != nil {
		t.Fatalf("Take after Close = %v", err)
	}
	second.Close()
	if _, err := Take(filepath.Join(path, "below")); errors.Is(err, ErrHeld) || err == nil {
		t.Errorf("Take below a file = %v", err)
	}
	if _, err := Take(filepath.Join(t.TempDir(), "no", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Take in no folder = %v", err)
	}
}
