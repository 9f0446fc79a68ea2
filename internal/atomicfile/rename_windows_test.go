package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// TestWrite_ReaderHolds: a reader that does not let others rename the file delays the
// write, until it has read or for the two seconds of busyfile.
func TestWrite_ReaderHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("lost"), 0o600); err == nil {
		t.Error("Write over a file that is held succeeded")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("the file = %q, %v, want it as it was", got, err)
	}
	time.AfterFunc(500*time.Millisecond, func() { windows.CloseHandle(h) })
	if err := Write(path, []byte("new"), 0o600); err != nil {
		t.Errorf("Write over a file that is let go of = %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("the file = %q, %v, want new", got, err)
	}
}
