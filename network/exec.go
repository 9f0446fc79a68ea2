package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

const (
	// maxPluginOutput bounds what is kept of each output of a plugin.
	maxPluginOutput = 1 << 20
	// killWait is how long a killed plugin's outputs may stay open, in the hands of a
	// process that it started.
	killWait = 2 * time.Second
	// maxQuoted bounds what errors quote of a plugin's output.
	maxQuoted = 200
)

// pluginExec runs plugins for libcni. Unlike libcni's own it kills what a plugin
// started along with it, does not wait for those processes, and bounds the output.
type pluginExec struct {
	version.PluginDecoder
}

var _ invoke.Exec = (*pluginExec)(nil)

// FindInPath implements invoke.Exec.
func (*pluginExec) FindInPath(plugin string, dirs []string) (string, error) {
	return invoke.FindInPath(plugin, dirs)
}

// ExecPlugin implements invoke.Exec.
func (*pluginExec) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	var stdout, stderr limitedBuffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = env
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = killWait
	err := runGroup(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it succeeded, and left a process behind that holds its output
	}
	if err != nil {
		return nil, pluginError(filepath.Base(path), err, stdout.kept, stderr.kept)
	}
	if stdout.truncated {
		return nil, fmt.Errorf("%s printed more than %d bytes", filepath.Base(path), maxPluginOutput)
	}
	if slices.Contains(env, "CNI_COMMAND=ADD") {
		if err := checkResult(stdout.kept); err != nil {
			return nil, fmt.Errorf("%s printed no result: %w: %q", filepath.Base(path), err, quoted(stdout.kept))
		}
	}
	return stdout.kept, nil
}

// pluginError makes an error of what a plugin that failed printed: by the CNI
// specification a JSON object on stdout, in practice anything.
func pluginError(plugin string, cause error, stdout, stderr []byte) error {
	var said types.Error
	if err := json.Unmarshal(stdout, &said); err == nil && said.Msg != "" {
		return fmt.Errorf("%s: %w (CNI code %d)", plugin, &said, said.Code)
	}
	text := quoted(slices.Concat(stdout, stderr))
	if text == "" {
		return fmt.Errorf("%s: %w, without a message", plugin, cause)
	}
	return fmt.Errorf("%s: %w: %q", plugin, cause, text)
}

// checkResult refuses what libcni does not take well: it panics on null in a list when
// it converts a result between versions, and takes a lone null for a result (v1.3.1).
func checkResult(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '{' {
		return errors.New("not a JSON object")
	}
	var lists struct {
		Interfaces []json.RawMessage `json:"interfaces"`
		IPs        []json.RawMessage `json:"ips"`
		Routes     []json.RawMessage `json:"routes"`
	}
	if err := json.Unmarshal(b, &lists); err != nil {
		return err
	}
	for _, item := range slices.Concat(lists.Interfaces, lists.IPs, lists.Routes) {
		if string(item) == "null" {
			return errors.New("null in a list")
		}
	}
	return nil
}

// quoted returns the end of a plugin's output, where its reason mostly is.
func quoted(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) > maxQuoted {
		return "…" + strings.ToValidUTF8(string(b[len(b)-maxQuoted:]), "")
	}
	return string(b)
}

// limitedBuffer keeps the first bytes written to it. The buffer is not embedded, as
// io.Copy would find its ReadFrom, which knows no limit.
type limitedBuffer struct {
	kept      []byte
	truncated bool
}

// Write implements io.Writer. It takes all of p.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), maxPluginOutput-len(b.kept))
	b.kept = append(b.kept, p[:n]...)
	b.truncated = b.truncated || n < len(p)
	return len(p), nil
}
