package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestExecSync(t *testing.T) {
	p := runPod(t, env.server)
	k := p.start(sh("sleeper", "exec sleep 600"))
	r, err := k.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"sh", "-c", "echo out; echo err >&2; exit 5"}})
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Stdout) != "out\n" || string(r.Stderr) != "err\n" || r.ExitCode != 5 {
		t.Errorf("ExecSync = %q, %q, %d", r.Stdout, r.Stderr, r.ExitCode)
	}
	start := time.Now()
	_, err = k.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"sleep", "300"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded || time.Since(start) > 30*time.Second {
		t.Errorf("ExecSync past its time limit: %v after %v", err, time.Since(start))
	}
	eventually(t, "the process of the exec that timed out is gone", func() bool {
		return k.exec("ps | grep -c '[s]leep 300' || true") == "0"
	})
	r, err = k.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"sh", "-c", "head -c 20000000 /dev/zero"}})
	if err != nil || len(r.Stdout) > 16<<20 {
		t.Errorf("ExecSync of endless output: %d bytes, %v; want at most 16 MiB", len(r.GetStdout()), err)
	}
	_, err = k.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"no-such-command"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("ExecSync of a missing command: %v", err)
	}
}

func crictl(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := env.server.Crictl(ctx, args...)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// transports are the ways that crictl knows to a stream.
var transports = []string{"spdy", "websocket"}

func TestCrictlExec(t *testing.T) {
	p := runPod(t, env.server)
	k := p.start(sh("sleeper", "exec sleep 600"))
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { testCrictlExec(t, k, transport) })
	}
}

func testCrictlExec(t *testing.T, k *container, transport string) {
	stdout, stderr, err := crictl(t, "hello\n", "exec", "--transport", transport, "-i", k.id, "sh", "-c", "cat; echo err >&2")
	if err != nil || stdout != "hello\n" || !strings.Contains(stderr, "err\n") {
		t.Errorf("crictl exec -i: %q, %q, %v", stdout, stderr, err)
	}
	_, stderr, err = crictl(t, "", "exec", "--transport", transport, k.id, "sh", "-c", "exit 9")
	if err == nil || !strings.Contains(stderr, "9") {
		t.Errorf("crictl exec of `exit 9`: %q, %v", stderr, err)
	}
	// A terminal: script(1) gives crictl one. Its size may come after the process began.
	line := strings.Join(env.server.Crictl(t.Context(), "exec", "--transport", transport, "-it", k.id, "sh", "-c", `'tty && until stty size; do sleep 0.1; done && read x && echo "read $x"'`).Args, " ")
	cmd := exec.Command("script", "-qefc", "stty rows 31 cols 97; "+line, os.DevNull)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(stdin, "typed\n")
	if err := cmd.Wait(); err != nil || !regexp.MustCompile(`/dev/pts/\d+`).MatchString(out.String()) ||
		!strings.Contains(out.String(), "31 97") || !strings.Contains(out.String(), "read typed") {
		t.Errorf("crictl exec -it: %v\n%s", err, out.String())
	}
}

func TestCrictlAttach(t *testing.T) {
	p := runPod(t, env.server)
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { testCrictlAttach(t, p, transport) })
	}
}

func testCrictlAttach(t *testing.T, p *pod, transport string) {
	c := sh("reader-"+transport, `echo ready; while read line; do echo "got $line"; done; echo end of input; exit 6`)
	c.Stdin, c.StdinOnce = true, true
	k := p.start(c)
	eventually(t, "the container waits", func() bool { return strings.Contains(k.stdout(), "ready") })
	stdout, stderr, err := crictl(t, "one\ntwo\n", "attach", "--transport", transport, "-i", k.id)
	if !strings.Contains(stdout, "got one\ngot two\n") {
		t.Errorf("crictl attach: %q, %q, %v", stdout, stderr, err)
	}
	if s := k.wait(); s.ExitCode != 6 || !strings.Contains(k.stdout(), "end of input") {
		t.Errorf("after attach closed its stdin (stdin-once): exit code %d, log %q", s.ExitCode, k.stdout())
	}
}

func TestCrictlPortForward(t *testing.T) {
	p := runPod(t, env.server)
	web := p.start(sh("web", "mkdir /tmp/w; echo page > /tmp/w/index.html; exec busybox httpd -f -p 127.0.0.1:8080 -h /tmp/w"))
	// crictl gives up forwarding when a connection is refused, so the server must listen first.
	web.exec("until wget -q -O /dev/null http://127.0.0.1:8080/; do sleep 0.1; done")
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { testCrictlPortForward(t, p, transport) })
	}
}

func testCrictlPortForward(t *testing.T, p *pod, transport string) {
	get := forward(t, p, transport, 8080)
	var body string
	eventually(t, "the page comes through the forwarded port", func() (ok bool) {
		body, ok = get()
		return ok
	})
	if body != "page\n" {
		t.Errorf("page %q", body)
	}
	for range 5 {
		if _, ok := get(); !ok {
			t.Fatal("the page does not come again")
		}
	}
}

// forward forwards a local port to one of the pod's by crictl until the test ends. get
// fetches a page from it.
func forward(t *testing.T, p *pod, transport string, port int) (get func() (page string, ok bool)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local := l.Addr().(*net.TCPAddr).Port
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	cmd := p.s.Crictl(ctx, "port-forward", "--transport", transport, p.id, fmt.Sprintf("%d:%d", local, port))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Logf("crictl port-forward said: %s", &out)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	return func() (string, bool) {
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", local))
		if err != nil {
			return "", false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return string(body), err == nil
	}
}

func TestLogs(t *testing.T) {
	p := runPod(t, env.server)
	c := sh("talker", `echo out 1; echo err 1 >&2; head -c 40000 /dev/zero | tr '\0' x; echo; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; printf 'no newline'`)
	k := p.start(c)
	eventually(t, "the long line is in the log", func() bool { return strings.Count(k.stdout(), "x") == 40000 })
	if got := k.logText("stderr"); got != "err 1\n" {
		t.Errorf("stderr in the log: %q", got)
	}

	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	follow := env.server.HostCrictl(ctx, "logs", "-f", k.id)
	pipe, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || lines.Text() != "out 1" {
		t.Errorf("crictl logs -f begins with %q", lines.Text())
	}

	// Rotation, as the kubelet does it: rename, then ask to reopen.
	path := filepath.Join(k.pod.config.LogDirectory, c.LogPath)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.s.ReopenContainerLog(testContext(t), &cri.ReopenContainerLogRequest{ContainerId: k.id}); err != nil {
		t.Fatal(err)
	}
	k.exec("touch /tmp/go")
	k.wait()
	if got := k.stdout(); got != "after\nno newline" && got != "after\nno newline\n" {
		t.Errorf("the log after rotation: %q", got)
	}
	if old, err := os.ReadFile(path + ".1"); err != nil || !strings.Contains(string(old), "out 1") || strings.Contains(string(old), "after") {
		t.Errorf("the rotated log: %.100q, %v", old, err)
	}
	cancel()
	follow.Wait()
	if _, err := p.s.ReopenContainerLog(testContext(t), &cri.ReopenContainerLogRequest{ContainerId: k.id}); err == nil {
		t.Error("ReopenContainerLog of an exited container succeeded")
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("crictl logs -f took too long")
	}
}
