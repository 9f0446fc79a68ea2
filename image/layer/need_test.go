package layer

import (
	"os"
	"os/exec"
	"testing"
)

// need skips a test that this machine cannot run, and fails it where every test must.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("PORTHOLE_TEST_STRICT") == "1" {
		t.Fatalf("this machine lacks %s", what)
	}
	t.Skipf("this machine lacks %s", what)
}

func needTool(t testing.TB, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	need(t, err == nil, name)
}
