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

// TestTogether_FileAndFolder: one pod has a folder, another a file of it alone. What one
// writes the other reads at once, locks hold between them, and both stay so when the file
// is replaced.
func TestTogether_FileAndFolder(t *testing.T) {
	hosts := newHosts(t, 2)
	dir := filepath.Join(t.TempDir(), "real")
	sub := filepath.Join(dir, "sub")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "f"), []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(filepath.Dir(dir), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(mounted(t, hosts[0], source(dir)), "sub", "f")
	file := mounted(t, hosts[1], source(filepath.Join(link, "sub", "f")))
	read := func(path, want string) {
		t.Helper()
		if b, err := os.ReadFile(path); string(b) != want {
			t.Errorf("%s reads %q, %v; want %q", path, b, err, want)
		}
	}
	replace := func(content string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(folder+".new", []byte(content), 0o644), os.Rename(folder+".new", folder)); err != nil {
			t.Fatal(err)
		}
	}
	locked := func() {
		t.Helper()
		a, err := os.OpenFile(folder, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for name, lock := range map[string]func(f *os.File, on bool) error{
			"fcntl": func(f *os.File, on bool) error {
				l := unix.Flock_t{Type: unix.F_UNLCK}
				if on {
					l.Type = unix.F_WRLCK
				}
				return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
			},
			"flock": func(f *os.File, on bool) error {
				if !on {
					return unix.Flock(int(f.Fd()), unix.LOCK_UN)
				}
				return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			},
		} {
			for _, f := range [][2]*os.File{{a, b}, {b, a}} {
				if err := lock(f[0], true); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := lock(f[1], true); !errors.Is(err, unix.EAGAIN) {
					t.Errorf("%s of what the other pod has = %v, want EAGAIN", name, err)
				}
				if err := lock(f[0], false); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	read(folder, "first")
	read(file, "first")
	for i, content := range []string{"second", "third one"} {
		for _, path := range []string{folder, file} { // both have cached it
			if err := os.WriteFile(path, []byte(content+path), 0o644); err != nil {
				t.Fatal(err)
			}
			read(folder, content+path)
			read(file, content+path)
		}
		if err := os.Chmod(file, 0o600+os.FileMode(i)); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{folder, file} {
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600+os.FileMode(i) {
				t.Errorf("%s has the mode %v, %v", path, st.Mode(), err)
			}
		}
		locked()
		replace("new " + content)
		read(file, "new "+content)
		locked()
	}
	// A handle of the file that was replaced is not one of the new file.
	old, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	replace("newest")
	read(file, "newest")
	if _, err := old.WriteAt([]byte("old"), 0); err != nil {
		t.Fatal(err)
	}
	read(file, "newest")
	read(folder, "newest")
}
