package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// command is one program to run.
type command struct {
	dir  string
	env  []string // besides the cleaned environment
	args []string
	// log, if set, gets what the program prints; otherwise it goes nowhere
	// but into the error.
	log io.Writer
}

// leaked are variables of the caller, often make's, that would change what a
// build does.
var leaked = []string{"CC", "CXX", "CPP", "LD", "AR", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LIBS",
	"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "KERNEL", "VERSION", "ARCH", "APT_CONFIG", "CDPATH", "POSIXLY_CORRECT"}

func environment(extra []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		return slices.Contains(leaked, key) || strings.HasPrefix(key, "LC_") || key == "LANG" || key == "LANGUAGE"
	})
	return append(append(env, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"), extra...)
}

// output runs the command and returns what it printed on standard output.
// The error has the end of what it printed at all. When ctx ends, the command
// and all that it started are ended.
func (c command) output(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = environment(c.env)
	ownGroup(cmd)
	cmd.WaitDelay = 10 * time.Second
	var out, all bytes.Buffer
	sinks := []io.Writer{&all}
	if c.log != nil {
		sinks = append(sinks, c.log)
	}
	both := &lockedWriter{w: io.MultiWriter(sinks...)}
	cmd.Stderr = both
	cmd.Stdout = io.MultiWriter(&out, both)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("run %s: %w", c.args[0], ctx.Err())
		}
		return "", fmt.Errorf("run %s: %w\n%s", strings.Join(c.args, " "), err, tail(all.String(), 20))
	}
	return out.String(), nil
}

func (c command) run(ctx context.Context) error {
	_, err := c.output(ctx)
	return err
}

// tail returns the last n lines of s, indented.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "    " + strings.Join(lines, "\n    ")
}
