package shim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestDiedUnexpectedly(t *testing.T) {
	for _, tt := range []struct{ name, log, want string }{
		{"killed", `{"time":"2026-11-27T01:00:00Z","level":"INFO","msg":"shim starts"}` + "\n",
			"shim died unexpectedly and logged no reason, as one that was killed: unavailable"},
		{"no-log", "", "shim died unexpectedly and logged no reason, as one that was killed: unavailable"},
		{"error", `{"level":"ERROR","msg":"old","error":"not this"}
{"time":"2026-11-27T01:00:00Z","level":"ERROR","msg":"shim ends","podID":"1f","error":"qemu ended: signal: killed"}
{"level":"INFO","msg":"later"}
half a line {`, "shim died unexpectedly: shim ends: qemu ended: signal: killed: unavailable"},
		{"panic", `{"level":"ERROR","msg":"shim ends","error":"not this"}
panic: runtime error: index out of range [3] with length 3

goroutine 1 [running]:
main.main()
` + strings.Repeat("goroutine 7 [select]:\n\t/src/a.go:1\n", 200),
			"shim died unexpectedly: panic: runtime error: index out of range [3] with length 3: unavailable"},
		{"foreign-bytes", "panic: \x1b[31m" + strings.Repeat("x", 5000) + "\n",
			"shim died unexpectedly: panic:  [31m" + strings.Repeat("x", 500) + " … " + strings.Repeat("x", 512) + ": unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := folder(t.TempDir())
			if tt.log != "" {
				if err := os.WriteFile(filepath.Join(string(f), "shim.log"), []byte(tt.log), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := f.reason()
			if err.Error() != tt.want || !errors.Is(err, errdefs.ErrUnavailable) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("it is more than a line")
			}
		})
	}
}
