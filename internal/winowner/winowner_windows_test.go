package winowner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestCheckFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ours := range []string{path, filepath.Dir(path), `C:\Windows`} {
		if err := CheckFile(ours); err != nil {
			t.Errorf("CheckFile(%s) = %v", ours, err)
		}
	}
	if err := CheckFile(path + "x"); !os.IsNotExist(err) {
		t.Errorf("CheckFile of none = %v, want not exist", err)
	}
}

func TestCheck(t *testing.T) {
	for sddl, want := range map[string]string{
		"O:SY": "", "O:BA": "",
		"O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464": "",
		"O:BU":                        "neither SYSTEM",
		"O:S-1-5-21-7-7-7-1001":       "S-1-5-21-7-7-7-1001",
		"D:P(A;;GA;;;BA)(A;;GA;;;SY)": "no owner",
	} {
		sd, err := windows.SecurityDescriptorFromString(sddl)
		if err != nil {
			t.Fatal(err)
		}
		err = check(sd)
		if want == "" && err != nil || want != "" && (!errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want)) {
			t.Errorf("check of %s = %v, want %q", sddl, err, want)
		}
	}
}
