package filelook

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSame(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, path string)
		same   bool
	}{
		"nothing": {func(*testing.T, string) {}, true},
		"longer":  {func(t *testing.T, path string) { write(t, path, "abcd") }, false},
		"written to": {func(t *testing.T, path string) {
			if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, false},
		"another": {func(t *testing.T, path string) {
			was, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path+".new", "abc")
			if err := errors.Join(os.Chtimes(path+".new", time.Time{}, was.ModTime()), os.Rename(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
			write(t, one, "abc")
			write(t, two, "abc")
			was, err := At(one, two)
			if err != nil {
				t.Fatal(err)
			}
			tc.change(t, two)
			now, err := At(one, two)
			if err != nil {
				t.Fatal(err)
			}
			if got := now.Same(was); got != tc.same {
				t.Errorf("Same = %t, want %t", got, tc.same)
			}
			if now[:1].Same(was) {
				t.Error("fewer files are the same")
			}
		})
	}
}

func TestAt_Missing(t *testing.T) {
	if _, err := At(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("At(missing) = %v, want ErrNotExist", err)
	}
}
