package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/node/cluster"
)

// k is the cluster that all tests share; nil: the tests do not run.
var k *cluster.Cluster

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	kube := os.Getenv("PORTHOLE_KUBE")
	if kube == "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "pnode")
	if err != nil {
		return 0, err
	}
	if os.Getenv("PORTHOLE_NODE_KEEP") == "" {
		defer os.RemoveAll(dir)
	}
	k, err = cluster.Start(context.Background(), cluster.Config{
		Name: "porthole-test-node", Dir: dir, Kube: kube, Bin: os.Getenv("PORTHOLE_BIN"), Guest: os.Getenv("PORTHOLE_GUEST"),
		Cache: os.Getenv("PORTHOLE_CACHE"), Extra: cluster.Handlers,
	})
	if err != nil {
		return 0, err
	}
	code := m.Run()
	if err := k.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = max(code, 1)
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "--- log of the runtime\n%s\n", k.Runtime.LogTail())
		for _, name := range []string{"kubelet"} {
			text, _ := os.ReadFile(filepath.Join(k.Logs(), name+".log"))
			fmt.Fprintf(os.Stderr, "--- log of %s\n%s\n", name, text[max(0, len(text)-8000):])
		}
	}
	return code, nil
}

// begin is the first call of every test: it ends one that has no cluster.
func begin(t *testing.T) {
	t.Helper()
	testneed.Within(t, k != nil, "make test-node")
}
