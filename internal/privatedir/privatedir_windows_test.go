package privatedir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestMake_IsPrivate(t *testing.T) {
	dir, err := os.MkdirTemp("", "privatedir")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	below := filepath.Join(dir, "new", "below")
	for range 2 { // the second takes over
		if err := Make(below, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Make(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Dir(below), below} {
		sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
		if err != nil {
			t.Fatal(err)
		}
		got := sd.String()
		for _, others := range []string{";WD)", ";BU)", ";AU)"} { // everyone, users, who has logged on
			if strings.Contains(got, others) {
				t.Errorf("%s has %s", path, got)
			}
		}
		if !strings.Contains(got, ";SY)") || !strings.Contains(got, ";BA)") {
			t.Errorf("%s has %s, want SYSTEM and Administrators", path, got)
		}
	}
}
