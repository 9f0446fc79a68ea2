package rotatelog

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/windows"
)

// TestWrite_ReaderHolds has a reader that does not share the file for deletion, as
// PowerShell's Get-Content -Wait, and then one that does.
func TestWrite_ReaderHolds(t *testing.T) {
	w := openTest(t, Config{MaxBytes: 4, Keep: 1})
	write(t, w, "aaa")
	read := func(share uint32) windows.Handle {
		t.Helper()
		name, err := windows.UTF16PtrFromString(w.config.Path)
		if err != nil {
			t.Fatal(err)
		}
		h, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	reader := read(windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE)
	write(t, w, "bbb")
	if diff := cmp.Diff(map[string]string{"": "aaa;bbb;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	windows.CloseHandle(reader)
	reader = read(windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE)
	defer windows.CloseHandle(reader)
	write(t, w, "ccc")
	if diff := cmp.Diff(map[string]string{"": "ccc;", ".1": "aaa;bbb;"}, contents(t, w)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
