package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/fusemount"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
)

// counted is a private share of a folder, mounted on this machine, whose requests are
// counted.
type counted struct {
	dir     string
	session *share.Session
}

// mountCounted mounts a folder anew: the kernel knows nothing of it.
func mountCounted(t *testing.T, folder string) *counted {
	t.Helper()
	relay, err := fusemount.BuildRelay(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	backend, err := hostfs.Open(folder, hostfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	session, err := share.NewSession(share.Config{Backend: backend, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	end, conn, err := fusemount.Pair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- session.Serve(context.Background(), conn) }()
	dir := filepath.Join(t.TempDir(), "share")
	m, err := fusemount.New(t.Context(), fusemount.Config{Relay: relay, Start: fusemount.Start, Stream: end, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Unmount(context.Background()), conn.Close(), <-served, backend.Close()); err != nil {
			t.Error(err)
		}
	})
	return &counted{dir: dir, session: session}
}

// unawaited are requests that nobody waits for.
var unawaited = []string{"RELEASE", "RELEASEDIR", "FORGET", "BATCH_FORGET", "INTERRUPT"}

// count returns how many requests something takes that a program waits for, and which.
func (c *counted) count(do func()) (int, string) {
	before := c.session.Stats()
	do()
	n := 0
	var which []string
	after := c.session.Stats()
	for _, op := range slices.Sorted(maps.Keys(after)) {
		if k := after[op] - before[op]; k > 0 && !slices.Contains(unawaited, op) {
			n += int(k)
			which = append(which, fmt.Sprintf("%s %d", op, k))
		}
	}
	return n, strings.Join(which, ", ")
}

// TestShareBudgets counts the requests of each operation. A budget is what the guest
// waits for: on a stream with a latency, that is its speed.
func TestShareBudgets(t *testing.T) {
	testneed.Root(t)
	testneed.File(t, "/dev/fuse")
	testneed.Program(t, "gcc")
	folder := t.TempDir()
	const many, large = 1000, 64 // files, MiB
	for i := range many {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint("many", i)), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "large"), make([]byte, large<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	var c *counted
	at := func(name string) string { return filepath.Join(c.dir, name) }
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	stat := func() { var st unix.Stat_t; fail(unix.Lstat(at("many0"), &st)) }
	read := func(name string, size int) func() {
		return func() {
			fd, err := unix.Open(at(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			fail(err)
			b := make([]byte, 1<<20)
			for n := 0; n < size; {
				k, err := unix.Read(fd, b)
				fail(err)
				n += k
			}
			fail(unix.Close(fd))
		}
	}
	write := func(name string, size int) func() {
		return func() {
			fd, err := unix.Open(at(name), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			fail(err)
			b := make([]byte, min(size, 1<<20))
			for n := 0; n < size; n += len(b) {
				_, err := unix.Write(fd, b)
				fail(err)
			}
			fail(unix.Close(fd))
		}
	}
	list := func() {
		fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		fail(err)
		// As ls does: it looks at each name of a block before it reads the next, by which
		// the kernel knows that attributes are wanted.
		for b := make([]byte, 32<<10); ; {
			n, err := unix.Getdents(fd, b)
			fail(err)
			if n == 0 {
				break
			}
			_, _, names := unix.ParseDirent(b[:n], -1, nil)
			for _, name := range names {
				var st unix.Stat_t
				fail(unix.Lstat(at(name), &st))
			}
		}
		fail(unix.Close(fd))
	}
	for _, b := range []struct {
		name   string
		before func() // nil: the kernel knows nothing but the root; else it has just done this
		do     func()
		budget int
	}{
		{"cold-stat", nil, stat, 1},
		{"warm-stat", stat, stat, 0},
		{"cold-read", nil, read("many1", 4), 3},
		{"known-read", func() { stat(); list() }, read("many2", 4), 2},
		{"warm-read", read("many3", 4), read("many3", 4), 1},
		{"create-write-close", stat, write("new", 256), 3},
		{"write-known", stat, write("many6", 256), 3},
		{"rename", read("many4", 4), func() { fail(unix.Rename(at("many4"), at("renamed"))) }, 2},
		{"unlink", read("many5", 4), func() { fail(unix.Unlink(at("many5"))) }, 1},
		{"ls-l", stat, list, 2 + (many+180)/180 + 1},
		{"read-64-MiB", stat, read("large", large<<20), large*1100/1024 + 2},
		{"write-64-MiB", stat, write("written", large<<20), large*1100/1024 + 2},
	} {
		t.Run(b.name, func(t *testing.T) {
			c = mountCounted(t, folder)
			_, err := os.Stat(c.dir) // once for each mount
			fail(err)
			if b.before != nil {
				b.before()
			}
			n, which := c.count(b.do)
			t.Logf("%d requests: %s", n, which)
			if n > b.budget {
				t.Errorf("%d requests (%s), want %d at most", n, which, b.budget)
			}
		})
	}
}
