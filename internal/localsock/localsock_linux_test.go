package localsock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListen_IsPrivate makes the socket under a umask that keeps nobody out.
func TestListen_IsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	defer unix.Umask(unix.Umask(0))
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket = %v, %v, want mode 0600", st, err)
	}
}

func TestCheckPath_Long(t *testing.T) {
	if err := CheckPath("/" + strings.Repeat("x", MaxPath)); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("CheckPath of a long path = %v", err)
	}
	if err := CheckPath("/" + strings.Repeat("x", MaxPath-1)); err != nil {
		t.Errorf("CheckPath of the longest path = %v", err)
	}
}
