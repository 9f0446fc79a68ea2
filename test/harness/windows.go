package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Windows is a host of Windows on which a server runs: one under Wine, whose files and
// network are this machine's.
type Windows struct {
	// Command runs a program of the host.
	Command func(ctx context.Context, program string, args ...string) *exec.Cmd
	// Path is what the host calls a path of this machine.
	Path func(string) string
	// Plugins is the folder of CNI plugins, and Network the HNS network that they use.
	Plugins string
	Network string
	// Pods' addresses, as the first two numbers of them: a network of 16 bits, in which each
	// server has a range to itself. CNI's win-bridge takes .0.2 for the gateway.
	Addresses string

	servers atomic.Uint32
}

// conf is what stands for a Linux conf list's bridge on Windows.
func (w *Windows) conf(dir string) ([]byte, error) {
	own := fmt.Sprintf("%s.%d.", w.Addresses, w.servers.Add(1)%255)
	return json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": w.Network,
		"plugins": []any{map[string]any{
			"type": "win-bridge", "apiVersion": 2,
			"ipam": map[string]any{"type": "host-local", "dataDir": w.Path(dir), "ranges": []any{[]any{map[string]any{
				"subnet": w.Addresses + ".0.0/16", "rangeStart": own + "10", "rangeEnd": own + "250",
			}}}},
		}},
	}, "", "  ")
}

// relay carries connections of a unix socket to an address of loopback, since the server
// under Wine has no unix sockets, until it is closed.
type relay struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]bool
	cuts  int // how many there were
}

func startRelay(socket, address string) (*relay, error) {
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, conns: map[net.Conn]bool{}}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.carry(c, address) })
		}
	})
	return r, nil
}

func (r *relay) carry(c net.Conn, address string) {
	defer c.Close()
	r.mu.Lock()
	cuts := r.cuts
	r.mu.Unlock()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	r.mu.Lock()
	over := r.cuts != cuts
	if !over {
		r.conns[c], r.conns[to] = true, true
	}
	r.mu.Unlock()
	if over {
		return
	}
	var wg sync.WaitGroup
	half := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
		_ = to.(interface{ CloseWrite() error }).CloseWrite()
	}
	wg.Go(func() { half(c, to) })
	half(to, c)
	wg.Wait()
	r.mu.Lock()
	delete(r.conns, c)
	delete(r.conns, to)
	r.mu.Unlock()
}

// cut ends what goes through the relay, as the end of the server does on Windows. Wine 8 keeps
// a socket open for ever whose process was killed while it wrote on it: between the two
// calls of wineserver that a send is made of. The answer to a test's last call before it kills the
// server is such a send, more often than not, and a client that had it would wait on
// that connection for ever.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cuts++
	for c := range r.conns {
		_ = c.Close()
	}
}

// close ends the relay and what goes through it.
func (r *relay) close() {
	_ = r.listener.Close()
	r.cut()
	r.wg.Wait()
}

// freeAddress is an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// text is the configuration of a server on the host.
func (w *Windows) text(c Config, s *Server, cni, certs string) string {
	q := func(path string) string { return "'" + w.Path(path) + "'" }
	if !strings.Contains(c.Extra, "[windows_kubelet]") { // requests here are as for Linux
		c.Extra += "\n[windows_kubelet]\ndialect = \"off\"\n"
	}
	return fmt.Sprintf(`version = 1
root = %s
state = %s

[log]
level = "debug"

[grpc]
socket = "tcp://%s"
insecure_tcp = true

[metrics]
address = "127.0.0.1:0"

[network]
conf_dir = %s
plugin_dirs = [%s]

[images]
registry_config_dir = %s
%s

[vm]
bundle = %s
%s
%s
`, q(s.Root), q(s.State), s.address, q(cni), q(w.Plugins), q(certs), c.Images, q(c.Guest), c.VM, c.Extra)
}

// configureWindows writes the configuration and starts the relay to the server.
func (s *Server) configureWindows(c Config, cni, certs string) error {
	conf := c.CNIConf
	var err error
	if len(conf) == 0 {
		if conf, err = s.windows.conf(filepath.Join(c.Dir, "ipam", "networks")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(cni, "10-porthole.conflist"), conf, 0o644); err != nil {
		return err
	}
	if s.address, err = freeAddress(); err != nil {
		return err
	}
	if s.relay, err = startRelay(s.Socket, s.address); err != nil {
		return err
	}
	return os.WriteFile(s.ConfigPath, []byte(s.windows.text(c, s, cni, certs)), 0o644)
}

// endWindows ends a server under Wine, which no signal reaches but one that kills.
func (s *Server) endWindows() error {
	err := s.Kill()
	s.conn.Close()
	s.conn = nil
	s.relay.close()
	return err
}

// awaitClosed waits until the process of that name, wineserver, has a file open no more. What a process under Wine has open is
// opened by wineserver, which closes it some time after the process has gone; until then it is locked, and keeps
// its file system busy. Descriptors up to 2 are of no program: they are those that Wine began with.
func awaitClosed(path, process string, atMost time.Duration) error {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		all, err := Processes()
		if err != nil {
			return err
		}
		open := slices.ContainsFunc(all, func(p Process) bool {
			return strings.HasPrefix(filepath.Base(p.Args[0]), process) && hasOpen(p.PID, path)
		})
		if !open {
			return nil
		}
		if time.Since(start) > atMost {
			return fmt.Errorf("%s has %s open %v after the end of the process that opened it", process, path, atMost)
		}
	}
}

// hasOpen tells whether a process has a file open, other than as its standard input, output and errors.
func hasOpen(pid int, path string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended
	}
	for _, fd := range fds {
		if n, err := strconv.Atoi(fd.Name()); err != nil || n <= 2 {
			continue
		}
		if file, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && file == path {
			return true
		}
	}
	return false
}

// program is porthole's.
func (s *Server) program(ctx context.Context, args ...string) *exec.Cmd {
	if s.windows != nil {
		return s.windows.Command(ctx, filepath.Join(s.bin, "porthole.exe"), args...)
	}
	return exec.CommandContext(ctx, filepath.Join(s.bin, "porthole"), args...)
}

// HostPath is a path of this machine as the server's host has it.
func (s *Server) HostPath(path string) string {
	if s.windows != nil {
		return s.windows.Path(path)
	}
	return path
}
