package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNode_Streams: kubectl's exec, logs, attach, cp and port-forward reach a pod.
func TestNode_Streams(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: c, image: IMAGE}
  - {name: cat, image: IMAGE, stdin: true, command: [cat]}
  - {name: ticks, image: IMAGE, command: [sh, -c, "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.2; done"]}
  terminationGracePeriodSeconds: 1
`)
	s.ready("web")
	t.Run("kernel", func(t *testing.T) {
		if got, host := s.in(t).exec("web", "uname -r"), kernel(t); got == host {
			t.Errorf("the pod's kernel is the host's, %q", got)
		}
	})
	t.Run("exec", func(t *testing.T) {
		out, err := s.try(t.Context(), "from stdin\n", "exec", "-i", "web", "--", "sh", "-c", "cat; echo to stderr >&2; exit 7")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 || out != "from stdin\n" || !strings.Contains(err.Error(), "to stderr") {
			t.Errorf("exec = %q, %v, want what stdin had, what stderr had, and exit code 7", out, err)
		}
	})
	t.Run("logs", func(t *testing.T) { followLogs(t, s.in(t)) })
	t.Run("attach", func(t *testing.T) { attach(t, s.in(t)) })
	t.Run("cp", func(t *testing.T) { copyFiles(t, s.in(t)) })
	t.Run("port-forward", func(t *testing.T) { forward(t, s.in(t)) })
}

// followLogs reads a log while it is written.
func followLogs(t *testing.T, s *space) {
	s.eventually("the log", func() error {
		out := s.must("logs", "web", "-c", "c")
		if !strings.HasPrefix(out, "serving, version 1\n") {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := k.Kubectl(ctx, "-n", s.name, "logs", "-f", "--tail=1", "web", "-c", "ticks")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var n []int
	for lines := bufio.NewScanner(out); len(n) < 6 && lines.Scan(); {
		var i int
		if _, err := fmt.Sscanf(lines.Text(), "tick %d", &i); err != nil {
			t.Errorf("line %q: %v", lines.Text(), err)
		}
		n = append(n, i)
	}
	cancel()
	cmd.Wait()
	for i := range n {
		if n[i] != n[0]+i {
			t.Errorf("followed lines are %v, want each once", n)
			break
		}
	}
	if len(n) < 6 {
		t.Errorf("followed %d lines, want 6", len(n))
	}
}

// attach talks to the process that a container runs.
func attach(t *testing.T, s *space) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := k.Kubectl(ctx, "-n", s.name, "attach", "-i", "web", "-c", "cat")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// What is written before the stream is there waits in the pipe.
	io.WriteString(in, "over and out\n")
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "over and out\n" {
		t.Errorf("attach read %q, %v", line, err)
	}
	cancel() // the container's stdin stays open for the next
	cmd.Wait()
}

// copyFiles copies a folder into a pod and back.
func copyFiles(t *testing.T, s *space) {
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16) // 1 MiB
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.WriteFile(filepath.Join(dir, "a", "b", "big"), want, 0o640)); err != nil {
		t.Fatal(err)
	}
	s.must("cp", filepath.Join(dir, "a"), "web:/tmp/a", "-c", "c")
	s.must("cp", "web:/tmp/a", filepath.Join(dir, "back"), "-c", "c")
	got, err := os.ReadFile(filepath.Join(dir, "back", "b", "big"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("what came back has %d bytes, %v, want the %d that went", len(got), err, len(want))
	}
}

// forward asks the pod's server through a port of this host.
func forward(t *testing.T, s *space) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := k.Kubectl(ctx, "-n", s.name, "port-forward", "pod/web", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	line, err := bufio.NewReader(out).ReadString('\n')
	var port int
	if _, scan := fmt.Sscanf(line, "Forwarding from 127.0.0.1:%d", &port); err != nil || scan != nil {
		t.Fatalf("port-forward says %q, %v", line, errors.Join(err, scan))
	}
	for range 3 {
		if got, err := fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d/", port)); err != nil || got != "web" {
			t.Errorf("through the port: %q, %v, want the pod's name", got, err)
		}
	}
}

// fetch gets a page.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// A connection of its own for each page: services are balanced by connections.
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(resp.Status))
	}
	return strings.TrimSpace(string(b)), err
}
