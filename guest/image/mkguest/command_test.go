package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommand_ErrorHasTheEnd(t *testing.T) {
	var log bytes.Buffer
	err := command{args: []string{"sh", "-c", "seq 1 100; echo broken >&2; exit 3"}, log: &log}.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("run = %v", err)
	}
	if strings.Contains(err.Error(), "    50\n") || !strings.Contains(log.String(), "\n50\n") {
		t.Errorf("the error should have the end of the output only, and the log all of it:\n%v", err)
	}
}

func TestCommand_EndsItsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	// The child holds the output open, so without its end run would wait.
	err := command{args: []string{"sh", "-c", "sleep 60 & wait"}}.run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run = %v, want the context's error", err)
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("run took %v: the child was not ended", took)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("MAKEFLAGS", "-j9")
	t.Setenv("CFLAGS", "-O0")
	t.Setenv("LC_MESSAGES", "de_DE")
	env := environment([]string{"SRC=/src"})
	for _, kv := range env {
		if key, _, _ := strings.Cut(kv, "="); key == "MAKEFLAGS" || key == "CFLAGS" || key == "LC_MESSAGES" {
			t.Errorf("the caller's %s leaks into builds", kv)
		}
	}
	if !slices.Contains(env, "LC_ALL=C.UTF-8") || !slices.Contains(env, "SRC=/src") {
		t.Errorf("environment lacks what was asked for: %v", env)
	}
}

func TestMissingPackages(t *testing.T) {
	got, err := missingPackages([]tool{{"sh", "dash"}, {"/no/such/header.h", "libx-dev"}, {"no-such-program", "b"}, {"no-such-either", "b"}})
	if err != nil || !slices.Equal(got, []string{"b", "libx-dev"}) {
		t.Errorf("missingPackages = %v, %v", got, err)
	}
}
