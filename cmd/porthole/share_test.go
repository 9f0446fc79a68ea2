package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShareSelftestRefuses: the error names what is wrong with the folder.
func TestShareSelftestRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{nil, "an argument is missing", exitUsage},
		{[]string{dir, dir}, "one argument too many", exitUsage},
		{[]string{"--seeds", "-1", dir}, "less than none", exitUsage},
		{[]string{filepath.Join(dir, "none")}, "there is no folder", exitFailed},
		{[]string{file}, "is not a folder", exitFailed},
	} {
		var out, errs strings.Builder
		err := runShareSelftest(t.Context(), stdio{&out, &errs}, c.args)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code {
			t.Errorf("selftest %q: %v, code %d; want %q, code %d", c.args, err, exitCode(err), c.want, c.code)
		}
	}
}
