package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cmd/porthole/winhost"
)

// TestInstallScript: what the script calls, the program has.
func TestInstallScript(t *testing.T) {
	text, err := os.ReadFile("../../deploy/windows/install.ps1")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, c := range commands() {
		known[c.name] = c.args
	}
	calls := regexp.MustCompile(`@\('setup', '([a-z]+)'(.*?)\)\n`).FindAllStringSubmatch(string(text), -1)
	calls = append(calls, regexp.MustCompile(`@\('setup', '([a-z]+)'(.*?)\) \|`).FindAllStringSubmatch(string(text), -1)...)
	if len(calls) != 2 {
		t.Fatalf("found the calls %q", calls)
	}
	for _, c := range calls {
		args, ok := known["setup "+c[1]]
		if !ok {
			t.Errorf("the script calls setup %s", c[1])
		}
		for _, f := range regexp.MustCompile(`'(--[a-z-]+)'`).FindAllStringSubmatch(c[2], -1) {
			if !strings.Contains(args, "["+f[1]) {
				t.Errorf("the script gives setup %s the flag %s", c[1], f[1])
			}
		}
	}
	if !strings.Contains(known["setup install"], "[--cni-conf FILE]") || !strings.Contains(string(text), "@('--cni-conf', $CniConf)") {
		t.Error("--cni-conf is not carried")
	}
	if !strings.Contains(known["setup uninstall"], "[--keep-data]") || !strings.Contains(string(text), "'--keep-data'") {
		t.Error("--keep-data is not carried")
	}
	if want := fmt.Sprintf("$leastBuild = %d\n", winhost.MinBuild); !strings.Contains(string(text), want) {
		t.Errorf("the script has not %q", want)
	}
}

// statusServer is a runtime that becomes ready.
type statusServer struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	asked, readyAt int
}

func (s *statusServer) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	s.asked++
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: s.asked >= s.readyAt, Message: "no bundle"},
		{Type: runtimeapi.NetworkReady, Status: false},
	}}}, nil
}

// TestUntilReady waits for a daemon that starts, and says why one is not ready.
func TestUntilReady(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[grpc]\nsocket = %q\n", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	short := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	if err := untilReady(short(10*time.Millisecond), path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("untilReady of nobody = %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &statusServer{readyAt: 2}
	g := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	defer func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if err := untilReady(short(time.Minute), path); err != nil || s.asked != 2 {
		t.Errorf("untilReady = %v after %d questions", err, s.asked)
	}
	s.readyAt = 1 << 20
	if err := untilReady(short(100*time.Millisecond), path); err == nil || !strings.Contains(err.Error(), "not ready: no bundle") {
		t.Errorf("untilReady of one that is not ready = %v", err)
	}
}
