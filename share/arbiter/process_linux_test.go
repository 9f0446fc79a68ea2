package arbiter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

const mainVar = "PORTHOLE_TEST_ARBITER"

// TestMain makes this binary an arbiter, or a client, when it is started as one.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("PORTHOLE_TEST_DIR"); os.Getenv(mainVar) {
	case "arbiter":
		if err := Main(context.Background(), dir, slog.New(slog.DiscardHandler)); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	case "client":
		clientProcess(dir)
	}
	os.Exit(m.Run())
}

// startProcess starts this binary as an arbiter or a client.
func startProcess(dir, role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), mainVar+"="+role, "PORTHOLE_TEST_DIR="+dir)
	return cmd
}

// clientProcess holds the lock, says so, and waits to be killed.
func clientProcess(dir string) {
	c := New(Config{Dir: dir, Start: func(context.Context) error { return startProcess(dir, "arbiter").Start() }})
	m, err := c.Join(context.Background(), JoinConfig{
		Chain:   []share.FileID{dataDir, rootDir},
		Changed: func(context.Context, []share.Change) error { return nil },
		Lost:    func(err error) { os.Stdout.WriteString("lost " + err.Error() + "\n") },
	})
	if err == nil {
		err = m.SetLock(context.Background(), file, exclusive(), true)
	}
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("held\n")
	select {}
}

// TestProcesses: two that start at once get one arbiter; killing the arbiter loses no
// lock; killing who holds one frees it.
func TestProcesses(t *testing.T) {
	dir, err := os.MkdirTemp("", "arb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var out lines
	var clients [2]*exec.Cmd
	for i := range clients {
		clients[i] = startProcess(dir, "client")
		clients[i].Stdout = &out
		if err := clients[i].Start(); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Wait()
		defer clients[i].Process.Kill()
	}
	eventually(t, "one holds the lock", func() bool { return out.count("held") == 1 })

	var mine []*exec.Cmd
	var mu sync.Mutex
	c := New(Config{Dir: dir, Start: func(context.Context) error {
		cmd := startProcess(dir, "arbiter")
		mu.Lock()
		defer mu.Unlock()
		mine = append(mine, cmd)
		return cmd.Start()
	}})
	defer func() {
		c.Close()
		for _, cmd := range mine {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	m := join(t, c, dataDir)
	if err := m.SetLock(t.Context(), file, exclusive(), false); !errors.Is(err, posix.EAGAIN) {
		t.Errorf("lock that a process holds = %v", err)
	}
	_, killArbiter := arbiterOf(t, dir)
	killArbiter()
	if err := m.SetLock(t.Context(), file, exclusive(), false); !errors.Is(err, posix.EAGAIN) {
		t.Errorf("lock after the arbiter's death = %v", err)
	}
	if n := out.count("lost"); n != 0 {
		t.Errorf("%d were lost", n)
	}
	for _, cmd := range clients { // who holds goes: the other gets it, then we do
		cmd.Process.Kill()
	}
	if err := m.SetLock(t.Context(), file, exclusive(), true); err != nil {
		t.Errorf("lock after the deaths = %v", err)
	}
}

// lines counts lines of several processes.
type lines struct {
	mu sync.Mutex
	s  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Write(b)
}

func (l *lines) count(word string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.s.String(), word)
}

// arbiterOf finds the arbiter process of a folder by its socket.
func arbiterOf(t *testing.T, dir string) (pid int, kill func()) {
	t.Helper()
	nc, err := net.Dial("unix", files(dir).socket())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	pid = int(cred.Pid)
	return pid, func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}
