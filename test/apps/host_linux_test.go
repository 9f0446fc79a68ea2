package apps

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

// host is a machine whose containers are chroots with PID and mount namespaces on this
// machine. The network is the test's own, see scripts/netns.sh.
type host struct {
	containers []*chroot
	shown      map[string]*shown // host folders as containers see them
}

func newHost(t *testing.T) *host {
	h := &host{shown: map[string]*shown{}}
	// Registered before the folders are mounted: the containers end first.
	t.Cleanup(func() { h.crash(t) })
	return h
}

func (h *host) crash(t *testing.T) {
	for _, c := range h.containers {
		c.kill(t)
	}
	h.containers = nil
	for folder, s := range h.shown {
		s.hide(t)
		delete(h.shown, folder)
	}
}

// chroot is a container of a host.
type chroot struct {
	app    appimage.App
	cmd    *osexec.Cmd
	ended  chan struct{}
	output lockedBuffer
	init   int // the first process of the container, as this machine numbers it
	env    []string
}

func (h *host) run(t *testing.T, s spec) container {
	t.Helper()
	root := rootfs(t, s.app)
	// The shell unshare starts is the first process of the PID namespace; it makes the
	// mounts and becomes the container's command.
	var b strings.Builder
	fmt.Fprintf(&b, "set -e\nm=%s\n", t.TempDir())
	b.WriteString("mount -t tmpfs scratch $m\nmkdir $m/up $m/work $m/root\n")
	fmt.Fprintf(&b, "mount -t overlay -o lowerdir=%s,upperdir=$m/up,workdir=$m/work overlay $m/root\n", root)
	b.WriteString("cd $m/root\nmount -t proc proc proc\nmount --rbind /dev dev\nmount -t tmpfs shm dev/shm\n")
	for at, folder := range s.folders {
		fmt.Fprintf(&b, "mkdir -p .%s\nmount --bind %s .%s\n", at, h.show(t, folder), at)
	}
	fmt.Fprintf(&b, "exec chroot --userspec=%d:%d . /bin/bash -c \"$1\"\n", s.app.UID, s.app.UID)
	c := &chroot{app: s.app, ended: make(chan struct{}), env: append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}, s.env...)}
	c.cmd = osexec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"bash", "-c", b.String(), "bash", s.script)
	c.cmd.Env = c.env
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.cmd.Wait()
		close(c.ended)
	}()
	h.containers = append(h.containers, c)
	c.init = c.findInit(t)
	return c
}

// findInit waits until the container's command has taken the place of the shell that
// made its mounts.
func (c *chroot) findInit(t *testing.T) int {
	t.Helper()
	pid := c.cmd.Process.Pid
	for range 1000 {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if child, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			root, _ := os.Readlink(fmt.Sprintf("/proc/%d/root", child))
			if root != "/" && root != "" {
				return child
			}
		}
		select {
		case <-c.ended:
			t.Fatalf("the container ended at once: %v\n%s", c.cmd.ProcessState, c.output.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatalf("the container did not start:\n%s", c.output.String())
	return 0
}

func (c *chroot) try(script string) (string, int, error) {
	cmd := osexec.Command("nsenter", "--target", strconv.Itoa(c.init), "--mount", "--pid", "--root", "--wdns=/",
		"--setgid", strconv.Itoa(c.app.UID), "--setuid", strconv.Itoa(c.app.UID), "/bin/bash", "-c", script)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	var exit *osexec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return string(out), cmd.ProcessState.ExitCode(), err
}

func (c *chroot) kill(t *testing.T) {
	t.Helper()
	// The first process of a PID namespace takes all others with it.
	if c.running(t) {
		syscall.Kill(c.init, syscall.SIGKILL)
	}
	select {
	case <-c.ended:
	case <-time.After(30 * time.Second):
		t.Error("a container is there 30 s after SIGKILL")
	}
}

func (c *chroot) running(*testing.T) bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

func (c *chroot) log(*testing.T) string { return c.output.String() }

// lockedBuffer is a buffer that is read while a process writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rootfs unpacks an application's image into the cache, once, and returns the folder.
func rootfs(t *testing.T, app appimage.App) string {
	t.Helper()
	img := image(t, app)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(env.cache, "apps", "rootfs", digest.Hex)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "part-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(part)
	r := mutate.Extract(img)
	defer r.Close()
	cmd := osexec.Command("tar", "-x", "-p", "--numeric-owner", "-C", part)
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack image %s: %v: %s", app.Name, err, out)
	}
	if err := errors.Join(os.Chmod(part, 0o755), os.Rename(part, dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}
