package harness

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
)

// Containerd is Debian's containerd with runc, with folders of its own: a peer to measure
// against, or to serve pods beside ours.
type Containerd struct {
	cri.RuntimeServiceClient
	Images cri.ImageServiceClient

	Dir     string
	Socket  string
	LogPath string

	config string // path of its configuration
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

// NewContainerd writes its configuration below dir, which must exist; nothing runs yet.
func NewContainerd(dir, pauseImage string, cniConf []byte) (*Containerd, error) {
	c := &Containerd{
		Dir: dir, Socket: filepath.Join(dir, "containerd.sock"), LogPath: filepath.Join(dir, "containerd.log"),
		config: filepath.Join(dir, "containerd.toml"),
	}
	cni := filepath.Join(dir, "cni")
	text := fmt.Sprintf(containerdConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), c.Socket, pauseImage, cni)
	err := errors.Join(
		os.MkdirAll(cni, 0o755),
		os.WriteFile(filepath.Join(cni, "10-peer.conflist"), cniConf, 0o644),
		os.WriteFile(c.config, []byte(text), 0o644))
	if err != nil {
		return nil, err
	}
	if c.conn, err = grpc.NewClient("unix://"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	c.RuntimeServiceClient, c.Images = cri.NewRuntimeServiceClient(c.conn), cri.NewImageServiceClient(c.conn)
	return c, nil
}

// Start runs it and waits until it is ready, 30 s at most. It may be started again after
// End.
func (c *Containerd) Start(ctx context.Context) error {
	log, err := os.OpenFile(c.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd = exec.Command("containerd", "--config", c.config)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = OwnSession()
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start containerd: %w: scripts/setup.sh bench installs it", err)
	}
	c.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in its ProcessState
	}(c.cmd, c.exited)
	if err := c.ready(ctx); err != nil {
		return errors.Join(fmt.Errorf("containerd is not ready: %w; its log ends with\n%s", err, c.LogTail()), c.End())
	}
	return nil
}

// ready waits until all conditions hold.
func (c *Containerd) ready(ctx context.Context) error {
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

// PID is the daemon's process id.
func (c *Containerd) PID() int { return c.cmd.Process.Pid }

// End asks the daemon to end, within 10 s; its pods and their shims go on. That it ended
// by itself before is an error.
func (c *Containerd) End() error {
	select {
	case <-c.exited:
		return fmt.Errorf("containerd ended by itself: %v", c.cmd.ProcessState)
	default:
	}
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
		return err
	case <-time.After(10 * time.Second):
		err = errors.Join(err, errors.New("containerd did not end within 10 s of SIGTERM"), c.cmd.Process.Kill())
		<-c.exited
		return err
	}
}

// Close lets go of the connection to it.
func (c *Containerd) Close() error { return c.conn.Close() }

// LogTail is the end of its log.
func (c *Containerd) LogTail() string {
	text, err := os.ReadFile(c.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
