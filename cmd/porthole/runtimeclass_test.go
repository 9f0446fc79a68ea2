package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// TestRuntimeClasses: the RuntimeClasses for Linux nodes name handlers that are built in.
func TestRuntimeClasses(t *testing.T) {
	line := func(text []byte, key string) string {
		m := regexp.MustCompile(`(?m)^ *` + key + `: (\S+)$`).FindSubmatch(text)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	for file, handler := range map[string]string{
		"runtimeclass-linux.yaml": config.OwnVM, "runtimeclass-linux-shared.yaml": config.SharedVM,
	} {
		text, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", file))
		if err != nil {
			t.Fatal(err)
		}
		if got := line(text, "handler"); got != handler || line(text, "kind") != "RuntimeClass" || line(text, "apiVersion") != "node.k8s.io/v1" {
			t.Errorf("%s is for handler %q, want %q", file, got, handler)
		}
		if memory := line(text, "memory"); !regexp.MustCompile(`^[1-9][0-9]*Mi$`).MatchString(memory) {
			t.Errorf("%s: overhead %q", file, memory)
		}
		if h, ok := config.Default().Handlers[handler]; !ok || !h.Exists() {
			t.Errorf("there is no handler %s", handler)
		}
	}
}
