package arbiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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

// TestStopped: an arbiter that was stopped holds up a lock for a bound, loses none, and
// gives way to another.
func TestStopped(t *testing.T) {
	dir, err := os.MkdirTemp("", "arb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var arbiters sync.WaitGroup
	defer arbiters.Wait() // each ends when it is killed, or when nobody is left
	var members []*peer
	for range 2 {
		c := New(Config{Dir: dir, Start: func(context.Context) error {
			cmd := startProcess(dir, "arbiter")
			if err := cmd.Start(); err != nil {
				return err
			}
			arbiters.Go(func() { cmd.Wait() })
			return nil
		}})
		defer c.Close()
		c.silent = time.Second
		members = append(members, join(t, c, dataDir))
	}
	holds, asks := members[0], members[1]
	if err := holds.SetLock(t.Context(), file, exclusive(), false); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() { waits <- asks.SetLock(t.Context(), file, exclusive(), true) }()
	// One that waits for a lock alone is no silent arbiter.
	select {
	case err := <-waits:
		t.Fatalf("a lock that another has = %v", err)
	case <-time.After(4 * time.Second):
	}
	before, _ := arbiterOf(t, dir)
	if err := syscall.Kill(before, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the arbiter is stopped", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", before))
		_, state, _ := strings.Cut(string(b), ") ")
		return err == nil && strings.HasPrefix(state, "T")
	})
	begin := time.Now()
	l := exclusive()
	l.Owner = 5
	if err := asks.SetLock(t.Context(), file, l, false); !errors.Is(err, posix.EAGAIN) {
		t.Errorf("a lock that another has, of a stopped arbiter = %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if after, _ := arbiterOf(t, dir); after == before {
		t.Error("the stopped arbiter goes on")
	}
	holds.Drop(file, 0, share.LockPOSIX)
	if err := <-waits; err != nil {
		t.Errorf("the wait = %v", err)
	}
	// Nor does one that leaves wait for ever.
	pid, _ := arbiterOf(t, dir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	asks.Close()
	for _, m := range members {
		select {
		case err := <-m.lost:
			t.Errorf("lost: %v", err)
		default:
		}
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
