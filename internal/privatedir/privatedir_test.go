package privatedir

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := Make(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			t.Fatalf("Stat = %v, %v", st, err)
		}
	}
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "below")} {
		if err := Make(bad, 0o700); err == nil {
			t.Errorf("Make(%s) over a file succeeded", bad)
		}
	}
}
