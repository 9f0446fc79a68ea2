package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/test/harness"
)

// containerd is Debian's containerd with runc, with folders of its own: the peer that
// Porthole is measured against.
type containerd struct {
	runtime
	dir    string
	socket string
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has been waited for
	conn   *grpc.ClientConn
}

// Without CAP_SYS_RESOURCE, as in a container, runc cannot lower the OOM score that
// containerd asks for; AppArmor's profile cannot be loaded everywhere.
const containerdConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`

// startContainerd runs it below dir, which must exist, with a CNI conf and a sandbox
// image, and waits until it is ready, 30 s at most.
func startContainerd(ctx context.Context, dir, pauseImage string, cniConf []byte) (*containerd, error) {
	c := &containerd{dir: dir, socket: filepath.Join(dir, "containerd.sock"), exited: make(chan struct{})}
	cni, config, logPath := filepath.Join(dir, "cni"), filepath.Join(dir, "containerd.toml"), filepath.Join(dir, "containerd.log")
	text := fmt.Sprintf(containerdConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), c.socket, pauseImage, cni)
	err := errors.Join(
		os.MkdirAll(cni, 0o755),
		os.WriteFile(filepath.Join(cni, "10-bench.conflist"), cniConf, 0o644),
		os.WriteFile(config, []byte(text), 0o644))
	if err != nil {
		return nil, err
	}
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if c.conn, err = grpc.NewClient("unix://"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	c.runtime = runtime{name: containerdName, logs: filepath.Join(dir, "logs"),
		RuntimeServiceClient: cri.NewRuntimeServiceClient(c.conn), images: cri.NewImageServiceClient(c.conn)}
	c.cmd = exec.Command("containerd", "--config", config)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = harness.OwnSession()
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start containerd: %w: scripts/setup.sh bench installs it", err), c.conn.Close())
	}
	go func() {
		defer close(c.exited)
		_ = c.cmd.Wait() // how it ended is in its ProcessState
	}()
	if err := c.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("containerd is not ready: %w; its log ends with\n%s", err, tail(logPath)), c.stop())
	}
	return c, nil
}

// ready waits until all conditions hold.
func (c *containerd) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		st, err := c.Status(ctx, &cri.StatusRequest{})
		for _, cond := range st.GetStatus().GetConditions() {
			if !cond.Status {
				err = errors.Join(err, fmt.Errorf("%s: %s", cond.Type, cond.Message))
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("it ended: %v", c.cmd.ProcessState)
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
		c.conn.ResetConnectBackoff()
	}
}

// stop removes the pods, ends containerd, its shims and what they run, and unmounts
// what is mounted in its folder. What already is as it should be is no error.
func (c *containerd) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	select {
	case <-c.exited:
		errs = append(errs, fmt.Errorf("containerd ended by itself: %v", c.cmd.ProcessState))
	default:
		errs = append(errs, c.removePods(ctx), c.cmd.Process.Signal(syscall.SIGTERM))
		select {
		case <-c.exited:
		case <-time.After(10 * time.Second):
			errs = append(errs, errors.New("containerd did not end within 10 s of SIGTERM"), c.cmd.Process.Kill())
			<-c.exited
		}
	}
	all, err := processes()
	errs = append(errs, err)
	for _, shim := range containerdShims(all, c.socket) {
		// Its children first: they would otherwise go on as children of init.
		for _, p := range append(childrenOf(all, shim.pid), shim) {
			errs = append(errs, kill(ctx, p.pid))
		}
	}
	return errors.Join(append(errs, c.conn.Close(), unmountBelow(ctx, c.dir))...)
}

// kill ends a process that is not ours to wait for, and waits until it is gone.
func kill(ctx context.Context, pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	for p.Signal(syscall.Signal(0)) == nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
