package hostshare

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/fusemount"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox/shim"
)

// These tests have two shims' hosts with one arbiter, and this machine's kernel as that
// of both guests: each mount has caches of its own, as two VMs have.

// mounted serves a share and mounts it, as a pod of its own would have it.
func mounted(t *testing.T, h *Host, s shim.ShareSource) (path string) {
	t.Helper()
	testneed.Root(t)
	testneed.File(t, "/dev/fuse")
	testneed.Program(t, "gcc")
	relay, err := fusemount.BuildRelay(t.Context(), os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, h, s)
	end, conn, err := fusemount.Pair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- o.Serve(context.WithoutCancel(t.Context()), conn) }()
	path = filepath.Join(t.TempDir(), "share")
	m, err := fusemount.New(t.Context(), fusemount.Config{Relay: relay, Start: fusemount.Start, Stream: end, Dir: path, File: o.IsFile()})
	if err != nil {
		t.Fatal(errors.Join(err, conn.Close(), <-served))
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Unmount(context.Background()), conn.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return path
}

// client is a program that is asked and answers, a line each.
type client struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out chan string // its output, a line each; closed at its end
}

// sqlite runs a sqlite3 that stays. Of what it is asked each answer ends with its line.
func sqlite(t *testing.T, db string) *client {
	t.Helper()
	testneed.Program(t, "sqlite3")
	in, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	theirs, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, cmd: exec.Command("sqlite3", "-batch", db), in: ours, out: make(chan string, 100)}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, out, out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	go func() { // ends with the program
		defer close(c.out)
		var rest string
		for b := make([]byte, 4096); ; {
			n, err := theirs.Read(b)
			rest += string(b[:n])
			for line, more, found := strings.Cut(rest, "\n"); found; line, more, found = strings.Cut(rest, "\n") {
				c.out <- line
				rest = more
			}
			if err != nil {
				theirs.Close()
				return
			}
		}
	}()
	t.Cleanup(c.quit)
	return c
}

// ask returns the lines that a statement gives.
func (c *client) ask(sql string) string {
	c.t.Helper()
	if _, err := c.in.WriteString(sql + "\n.print done\n"); err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for {
		select {
		case line, ok := <-c.out:
			if !ok || line == "done" {
				return strings.Join(all, "; ")
			}
			all = append(all, line)
		case <-time.After(30 * time.Second):
			c.t.Fatalf("%s: no answer after %q", sql, all)
		}
	}
}

func (c *client) quit() {
	if c.in == nil {
		return
	}
	c.in.Close()
	c.in = nil
	for range c.out {
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Logf("sqlite3: %v", err) // it says so of any statement that failed
	}
}

// TestTogether_WAL: SQLite's WAL keeps an index in memory that is mapped. From a second
// pod that is an error, and the first goes on; when the first has closed the database the
// second has it. Several processes of one pod have it at once.
func TestTogether_WAL(t *testing.T) {
	hosts := newHosts(t, 2)
	dir := t.TempDir()
	one, two := mounted(t, hosts[0], source(dir)), mounted(t, hosts[1], source(dir))
	a, a2 := sqlite(t, filepath.Join(one, "db")), sqlite(t, filepath.Join(one, "db"))
	if got := a.ask("pragma journal_mode=wal; create table t(x); insert into t values(1); select count(*) from t;"); got != "wal; 1" {
		t.Fatalf("the first pod: %q", got)
	}
	if got := a2.ask("insert into t values(2); select count(*) from t;"); got != "2" {
		t.Errorf("another process of the first pod: %q", got)
	}
	b := sqlite(t, filepath.Join(two, "db"))
	if got := b.ask("select count(*) from t;"); !strings.Contains(got, "disk I/O error") {
		t.Errorf("the second pod reads: %q, want an error", got)
	}
	if got := b.ask("insert into t values(9);"); !strings.Contains(got, "disk I/O error") {
		t.Errorf("the second pod writes: %q, want an error", got)
	}
	if got := a.ask("insert into t values(3); select count(*) from t; pragma integrity_check;"); got != "3; ok" {
		t.Errorf("the first pod after that: %q", got)
	}
	for _, c := range []*client{a, a2, b} {
		c.quit()
	}
	b = sqlite(t, filepath.Join(two, "db"))
	var got string
	soon(t, "the second pod has it when the first has not", func() bool { // RELEASE is not waited for
		got = b.ask("insert into t values(4); select count(*) from t; pragma integrity_check;")
		return got == "4; ok"
	}, &got)
}

// TestTogether_Rollback: with a rollback journal two pods write one database in turns.
func TestTogether_Rollback(t *testing.T) {
	hosts := newHosts(t, 2)
	dir := t.TempDir()
	one, two := mounted(t, hosts[0], source(dir)), mounted(t, hosts[1], source(dir))
	a, b := sqlite(t, filepath.Join(one, "db")), sqlite(t, filepath.Join(two, "db"))
	if got := a.ask("pragma busy_timeout=20000; create table t(x);"); got != "20000" {
		t.Fatalf("create: %q", got)
	}
	b.ask("pragma busy_timeout=20000;")
	for range 20 {
		for _, c := range []*client{a, b} {
			if got := c.ask("insert into t select count(*) from t;"); got != "" {
				t.Fatalf("insert: %q", got)
			}
		}
	}
	for _, c := range []*client{a, b} {
		if got := c.ask("select count(*), count(distinct x), max(x) from t; pragma integrity_check;"); got != "40|40|39; ok" {
			t.Errorf("the database has %q", got)
		}
	}
}

// TestTogether_ReadWrite: a file that two pods have open for reading and writing is one
// file, whoever may map it.
func TestTogether_ReadWrite(t *testing.T) {
	hosts := newHosts(t, 2)
	dir := t.TempDir()
	one, two := mounted(t, hosts[0], source(dir)), mounted(t, hosts[1], source(dir))
	var files [2]*os.File
	for i, path := range []string{one, two} {
		f, err := os.OpenFile(filepath.Join(path, "f"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	reader, err := os.Open(filepath.Join(two, "f")) // with the second's cache
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for i := range 50 {
		want := strings.Repeat(string(rune('a'+i%26)), 6000)
		if _, err := files[i%2].WriteAt([]byte(want), int64(i%3)*1000); err != nil {
			t.Fatal(err)
		}
		for who, f := range []*os.File{files[0], files[1], reader} {
			got := make([]byte, 6000)
			if _, err := f.ReadAt(got, int64(i%3)*1000); err != nil || string(got) != want {
				t.Fatalf("write %d: handle %d reads %.10q…, %v; want %.10q", i, who, got, err, want)
			}
		}
	}
	for i, want := range []error{nil, unix.ENODEV} {
		b, err := unix.Mmap(int(files[i].Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if !errors.Is(err, want) {
			t.Errorf("mmap by pod %d = %v, want %v", i+1, err, want)
		}
		if err == nil {
			unix.Munmap(b)
		}
		if b, err = unix.Mmap(int(files[i].Fd()), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
			t.Errorf("private mmap by pod %d = %v", i+1, err)
		} else {
			unix.Munmap(b)
		}
	}
}

// soon waits until something is so, for ten seconds at most.
func soon(t *testing.T, what string, ok func() bool, now *string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not in time: %s; now %q", what, *now)
		}
	}
}
