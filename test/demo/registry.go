package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// serveRegistry builds the sample image, serves it on loopback, prints its reference,
// and goes on until ctx ends.
func serveRegistry(ctx context.Context, o options) error {
	img, err := debimage.Sample(ctx, filepath.Join(o.cache, "debs"))
	if err != nil {
		return err
	}
	r, err := registry.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := r.Push(ctx, "porthole/sample", "latest", img); err != nil {
		return err
	}
	fmt.Printf("%s/porthole/sample:latest\n", r.Host())
	<-ctx.Done()
	return r.Close()
}

// startRegistry runs this program as the registry, in a session of its own so that it
// can stay when the demo ends, and returns the sample's reference.
func startRegistry(o options) (ref string, cmd *exec.Cmd, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	log, err := os.Create(filepath.Join(o.dir, "registry.log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd = exec.Command(self, "registry", "-cache", o.cache)
	cmd.Stderr = log
	cmd.SysProcAttr = harness.OwnSession()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait()
		why, _ := os.ReadFile(log.Name())
		return "", nil, fmt.Errorf("the registry did not start: %s", strings.TrimSpace(string(why)))
	}
	return strings.TrimSpace(line), cmd, nil
}
