package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Config says how a server differs from the usual.
type Config struct {
	Dir     string   // its folders are below; must exist
	Bin     string   // folder of the built porthole and crictl
	Guest   string   // folder of the guest bundle
	Root    string   // where images and records go; "": Dir/root
	Accel   string   // "": auto
	CNIConf []byte   // the CNI conf list; its IPAM state goes below Dir
	TCP     string   // "HOST:PORT" on which CRI is served without certificates; "": on a unix socket below Dir
	VM      string   // further TOML in [vm]
	Images  string   // further TOML in [images]
	Extra   string   // further TOML at the end
	Windows *Windows // where it runs; nil: here, on Linux
	Tools   string   // folder of crictl; "": Bin
}

// Server is one `porthole serve`.
type Server struct {
	cri.RuntimeServiceClient
	Images cri.ImageServiceClient

	Dir        string
	Root       string
	State      string
	Socket     string // path of the unix socket, or tcp://HOST:PORT
	ConfigPath string
	LogPath    string

	bin     string
	tools   string   // folder of crictl
	windows *Windows // nil: Linux
	address string   // of a server on Windows, to which relay carries Socket
	relay   *relay
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has been waited for
	conn    *grpc.ClientConn
}

// New writes the configuration of a server; nothing runs yet.
func New(c Config) (*Server, error) {
	s := &Server{
		Dir: c.Dir, Root: c.Root, bin: c.Bin,
		State:      filepath.Join(c.Dir, "run"),
		Socket:     filepath.Join(c.Dir, "porthole.sock"),
		ConfigPath: filepath.Join(c.Dir, "config.toml"),
		LogPath:    filepath.Join(c.Dir, "server.log"),
	}
	grpcMore := ""
	if c.TCP != "" {
		s.Socket, grpcMore = "tcp://"+c.TCP, "insecure_tcp = true"
	}
	if s.Root == "" {
		s.Root = filepath.Join(c.Dir, "root")
	}
	if s.tools, s.windows = c.Tools, c.Windows; s.tools == "" {
		s.tools = c.Bin
	}
	if c.Accel == "" {
		c.Accel = "auto"
	}
	cni, certs := filepath.Join(c.Dir, "cni"), filepath.Join(c.Dir, "certs.d")
	for _, d := range []string{cni, certs, s.State} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	// QEMU runs as a user of its own and must be able to reach what it is given.
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if s.windows != nil {
		return s, s.configureWindows(c, cni, certs)
	}
	if err := os.WriteFile(filepath.Join(cni, "10-porthole.conflist"), ownLeases(c.CNIConf, filepath.Join(c.Dir, "ipam")), 0o644); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`version = 1
root = %q
state = %q

[log]
level = "debug"

[grpc]
socket = %q
%s

[metrics]
address = "127.0.0.1:0"

[network]
conf_dir = %q
plugin_dirs = ["/usr/lib/cni"]

[images]
registry_config_dir = %q
%s

[vm]
bundle = %q
accel = %q
cgroup_driver = "cgroupfs" # of the kubelet and the suites that are run here, wherever that is
%s
%s
`, s.Root, s.State, s.Socket, grpcMore, cni, certs, c.Images, c.Guest, c.Accel, c.VM, c.Extra)
	return s, os.WriteFile(s.ConfigPath, []byte(text), 0o644)
}

// ownLeases makes a conf list keep the addresses it gives in a folder, so that servers
// do not share them and none is taken for ever. What is not a conf list stays as it is:
// tests give broken ones.
func ownLeases(conf []byte, dir string) []byte {
	var list map[string]any
	if json.Unmarshal(conf, &list) != nil {
		return conf
	}
	plugins, _ := list["plugins"].([]any)
	for _, p := range plugins {
		plugin, _ := p.(map[string]any)
		if ipam, ok := plugin["ipam"].(map[string]any); ok && ipam["type"] == "host-local" {
			ipam["dataDir"] = dir
		}
	}
	out, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return conf
	}
	return out
}

// Start runs the server and waits until it answers, 60 s at most.
func (s *Server) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = s.program(context.WithoutCancel(ctx), "serve", "--config", s.HostPath(s.ConfigPath))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = OwnSession()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := s.Connect(); err != nil {
		return err
	}
	for {
		_, err := s.Version(ctx, &cri.VersionRequest{})
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended at once: %v\n%s", s.cmd.ProcessState, s.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w\n%s", err, s.LogTail())
		case <-time.After(20 * time.Millisecond):
		}
		s.conn.ResetConnectBackoff()
	}
}

// Use has the next Start run the porthole that is in another folder.
func (s *Server) Use(bin string) { s.bin = bin }

// Connect makes the clients, for a server that another process started.
func (s *Server) Connect() error {
	if s.conn != nil {
		return nil
	}
	target := "unix://" + s.Socket
	if addr, ok := strings.CutPrefix(s.Socket, "tcp://"); ok {
		target = addr
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// As the kubelet's client: answers may hold an exec's output.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}
	if s.windows != nil {
		options = append(options, grpc.WithUnaryInterceptor(s.windows.translate))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return err
	}
	s.conn, s.RuntimeServiceClient, s.Images = conn, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	return nil
}

// PID is the daemon's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the daemon as a crash would; its pods go on.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.exited
	if s.windows != nil {
		s.relay.cut()
		return awaitClosed(s.LogPath, "wineserver", 30*time.Second)
	}
	return nil
}

// RemovePods removes all pods.
func (s *Server) RemovePods(ctx context.Context) error {
	pods, err := s.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	errs := []error{err}
	for _, p := range pods.GetItems() {
		_, err := s.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.Id})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Stop removes all pods and ends the daemon.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return errors.Join(s.RemovePods(ctx), s.End())
}

// End asks the daemon to end, within 30 s; its pods go on.
func (s *Server) End() error {
	if s.windows != nil {
		return s.endWindows()
	}
	errs := []error{s.cmd.Process.Signal(syscall.SIGTERM)}
	select {
	case <-s.exited:
		if !s.cmd.ProcessState.Success() {
			errs = append(errs, fmt.Errorf("the server ended with %v", s.cmd.ProcessState))
		}
	case <-time.After(30 * time.Second):
		errs = append(errs, errors.New("the server did not end within 30 s of SIGTERM"), s.cmd.Process.Kill())
	}
	s.conn.Close()
	s.conn = nil
	return errors.Join(errs...)
}

// LogTail is the end of the server's log.
func (s *Server) LogTail() string {
	text, err := os.ReadFile(s.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// Crictl is a crictl command for the server.
func (s *Server) Crictl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(s.tools, "crictl"), append(s.CrictlArgs(), args...)...)
}

// HostCrictl is Crictl on the server's host, by whose paths it finds files that the server names.
func (s *Server) HostCrictl(ctx context.Context, args ...string) *exec.Cmd {
	if s.windows == nil {
		return s.Crictl(ctx, args...)
	}
	endpoint := "tcp://" + s.address
	return s.windows.Command(ctx, filepath.Join(s.bin, "crictl.exe"),
		append([]string{"--config", "NUL", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "--timeout", "60s"}, args...)...)
}

// CrictlArgs are the options that point crictl at the server.
func (s *Server) CrictlArgs() []string {
	return []string{"--config", os.DevNull, "--runtime-endpoint", "unix://" + s.Socket, "--image-endpoint", "unix://" + s.Socket, "--timeout", "60s"}
}

// Porthole is a porthole command.
func (s *Server) Porthole(ctx context.Context, args ...string) *exec.Cmd {
	return s.program(ctx, args...)
}
