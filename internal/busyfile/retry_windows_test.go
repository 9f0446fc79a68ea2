package busyfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRetry_Remove: a file that is open for a moment does not keep a folder.
func TestRetry_Remove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err == nil {
		t.Fatal("an open file can be removed here: this test would show nothing")
	}
	time.AfterFunc(100*time.Millisecond, func() { f.Close() })
	if err := Retry(func() error { return os.RemoveAll(dir) }); err != nil {
		t.Error(err)
	}
}
