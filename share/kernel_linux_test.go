package share_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
	"github.com/porthole-run/porthole/share/sharetest"
)

// These tests have a real kernel as the guest's, this machine's, through the real relay.

func mounted(t *testing.T, one string) (host, guest string) {
	t.Helper()
	host = t.TempDir()
	if one != "" {
		check(t, os.WriteFile(filepath.Join(host, one), []byte("first"), 0o644))
		check(t, os.WriteFile(filepath.Join(host, "sibling"), nil, 0o644))
	}
	fs, err := hostfs.Open(host, hostfs.Options{})
	check(t, err)
	b := share.Backend(fs)
	if one != "" {
		b = share.OneFile(fs, one)
	}
	t.Cleanup(func() { check(t, b.Close()) })
	guest = sharetest.Mount(t, share.Config{Backend: b, Private: true,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	return host, guest
}

// onHost makes changes by another process than the server's: its own are the guest's.
func onHost(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// watcher reads a folder's inotify events as text.
type watcher struct {
	t  *testing.T
	fd *os.File
}

func inotify(t *testing.T, dir string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check(t, err)
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_DELETE_SELF|unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB|unix.IN_MOVED_FROM|unix.IN_MOVED_TO)
	check(t, err)
	w := &watcher{t, os.NewFile(uintptr(fd), "inotify")}
	t.Cleanup(func() { w.fd.Close() })
	return w
}

var eventNames = []struct {
	mask uint32
	name string
}{{unix.IN_CREATE, "CREATE"}, {unix.IN_DELETE, "DELETE"}, {unix.IN_MODIFY, "MODIFY"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"},
	{unix.IN_ATTRIB, "ATTRIB"}, {unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_Q_OVERFLOW, "OVERFLOW"},
	{unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_IGNORED, "IGNORED"}}

// until reads events until last has come, for a minute at most.
func (w *watcher) until(last string) (all []string) {
	w.t.Helper()
	check(w.t, w.fd.SetReadDeadline(time.Now().Add(time.Minute))) // a busy machine raises a few dozen a second
	for !slices.Contains(all, last) {
		more, err := w.read()
		if all = append(all, more...); err != nil {
			w.t.Errorf("events %q, then %v; want %q", all, err, last)
			return all
		}
	}
	return all
}

// now reads the events that have come.
func (w *watcher) now() (all []string) {
	check(w.t, w.fd.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	for {
		more, err := w.read()
		if all = append(all, more...); err != nil {
			return all
		}
	}
}

func (w *watcher) read() (events []string, err error) {
	buf := make([]byte, 64<<10)
	n, err := w.fd.Read(buf)
	if err != nil {
		return nil, err
	}
	for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		name := strings.TrimRight(string(b[16:16+size]), "\x00")
		for _, e := range eventNames {
			if mask&e.mask != 0 {
				events = append(events, strings.TrimSpace(e.name+" "+name))
			}
		}
		b = b[16+size:]
	}
	return events, nil
}

func TestKernel_Inotify(t *testing.T) {
	host, guest := mounted(t, "")
	if _, err := os.ReadDir(guest); err != nil {
		t.Fatal(err)
	}
	w := inotify(t, guest)
	for _, c := range []struct{ name, do, want string }{
		{"create", "printf data >a", "CREATE a; MODIFY a; CLOSE_WRITE a"},
		{"append", "printf more >>a", "MODIFY a; CLOSE_WRITE a"},
		{"chmod", "chmod 600 a", "ATTRIB a"},
		{"close", ": >>a", "CLOSE_WRITE a"},
		{"late_close", "exec 3>>a; printf x >&3; sleep 1; mkdir d; rmdir d; exec 3>&-",
			"MODIFY a; CLOSE_WRITE a; CREATE d; DELETE d; CLOSE_WRITE a"},
		{"create_empty", ": >e", "CREATE e; CLOSE_WRITE e"},
		{"remove_empty", "rm e", "DELETE e"},
		{"mkdir", "mkdir d", "CREATE d"},
		{"rename", "mv a b", "MOVED_FROM a; MOVED_TO b"},
		{"unlink", "rm b", "DELETE b"},
		{"rmdir", "rmdir d", "DELETE d"},
		{"symlink", "ln -s ..1 ..data_tmp", "CREATE ..data_tmp"},
		{"symlink_times", "touch -h -d @7 ..data_tmp", "ATTRIB ..data_tmp"},
		{"data", "mv -T ..data_tmp ..data", "MOVED_FROM ..data_tmp; MOVED_TO ..data"},
		{"data_swap", "ln -s ..2 ..data_tmp; mv -T ..data_tmp ..data", "CREATE ..data_tmp; MOVED_FROM ..data_tmp; MOVED_TO ..data"},
	} {
		onHost(t, host, c.do+"; mkdir end; rmdir end")
		all := slices.DeleteFunc(w.until("DELETE end"), func(e string) bool { return strings.HasSuffix(e, " end") })
		got := strings.Join(all, "; ")
		// A write that is told before its file is closed has a close of its own.
		if once := strings.Join(slices.Compact(all), "; "); got != c.want && once != c.want {
			t.Errorf("%s gave %q, want %q", c.name, got, c.want)
		}
	}
	if target, err := os.Readlink(filepath.Join(guest, "..data")); target != "..2" {
		t.Errorf("..data is %q, %v", target, err)
	}
	// The guest's own changes come once, from its own kernel.
	check(t, os.WriteFile(filepath.Join(guest, "own"), []byte("x"), 0o644))
	// A program that is started while the server has the file open would be the last to
	// close it, and its close another's.
	eventually(t, "the server has closed it", func() bool { return !hasOpen(t, "own") })
	onHost(t, host, "true >end")
	if got := strings.Join(w.until("CLOSE_WRITE end"), "; "); strings.Count(got, "own") != 3 { // CREATE, MODIFY, CLOSE_WRITE
		t.Errorf("own changes gave %q", got)
	}
}

// hasOpen tells whether this process, the server, has a file of the name open for writing.
func hasOpen(t *testing.T, file string) bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	for _, fd := range fds {
		if at, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && filepath.Base(at) == file { // of a mount of its own
			info, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name()) // it may have gone
			_, text, _ := strings.Cut(string(info), "flags:")
			flags, _ := strconv.ParseUint(strings.TrimSpace(strings.SplitN(text, "\n", 2)[0]), 8, 32)
			if flags&unix.O_ACCMODE != unix.O_RDONLY {
				return true
			}
		}
	}
	return false
}

// TestKernel_RemovedTree: that a folder is gone is told also when the guest knows what it
// held, whose own removal is told first.
func TestKernel_RemovedTree(t *testing.T) {
	host, guest := mounted(t, "")
	onHost(t, host, "mkdir -p d/e; echo x >d/e/f; echo x >d/g")
	for _, f := range []string{"d/e/f", "d/g"} {
		if _, err := os.ReadFile(filepath.Join(guest, f)); err != nil {
			t.Fatal(err)
		}
	}
	above, inside := inotify(t, guest), inotify(t, filepath.Join(guest, "d/e"))
	onHost(t, host, "mkdir begin; rmdir begin")
	above.until("DELETE begin")
	onHost(t, host, "rm -r d; mkdir end; rmdir end")
	if got := strings.Join(above.until("DELETE end"), "; "); got != "DELETE d; CREATE end; DELETE end" {
		t.Errorf("above the folder: %q", got)
	}
	// What the folder's own watch tells of is not promised (docs/volumes.md): the kernel may
	// have dropped the folder before it is asked to remove what was in it. Nothing else comes.
	all := []string{"DELETE f", "DELETE_SELF", "IGNORED"}
	for _, e := range inside.now() {
		i := slices.Index(all, e)
		if i < 0 {
			t.Errorf("inside the folder: %q, want some of DELETE f; DELETE_SELF; IGNORED, in this order", e)
			break
		}
		all = all[i+1:]
	}
}

func TestKernel_Burst(t *testing.T) {
	host, guest := mounted(t, "")
	if _, err := os.ReadDir(guest); err != nil {
		t.Fatal(err)
	}
	w := inotify(t, guest)
	const n = 1000
	onHost(t, host, fmt.Sprintf("for i in $(seq 0 %d); do true >$i; done", n-1))
	all := w.until(fmt.Sprintf("CLOSE_WRITE %d", n-1))
	created := 0
	for _, e := range all {
		if strings.HasPrefix(e, "CREATE") {
			created++
		}
	}
	if created != n {
		t.Errorf("%d of %d files raised an event", created, n)
	}
}

// eventually asks until it is so, and fails past the time that is promised for changes
// on the host to be seen, with some more for a busy machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 2*time.Second {
			t.Fatalf("%s: not seen", what)
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("%s: seen after %v", what, time.Since(began))
}

func TestKernel_Coherence(t *testing.T) {
	host, guest := mounted(t, "")
	g := filepath.Join(guest, "f")
	if _, err := os.Stat(g); err == nil {
		t.Fatal("there before it is made")
	}
	onHost(t, host, "printf one >f")
	eventually(t, "a new file", func() bool { _, err := os.Stat(g); return err == nil })
	f, err := os.Open(g)
	check(t, err)
	defer f.Close()
	read := func() string {
		b := make([]byte, 100)
		n, _ := f.ReadAt(b, 0) // io.EOF
		return string(b[:n])
	}
	if got := read(); got != "one" {
		t.Errorf("read %q", got)
	}
	onHost(t, host, "printf two >f")
	eventually(t, "new content in an open file", func() bool { return read() == "two" })
	onHost(t, host, "chmod 600 f")
	eventually(t, "a new mode", func() bool { i, err := os.Stat(g); return err == nil && i.Mode() == 0o600 })
	onHost(t, host, "mv f f2")
	eventually(t, "a new name", func() bool { _, err := os.Stat(g + "2"); return err == nil })
	eventually(t, "no old name", func() bool { _, err := os.Stat(g); return err != nil })
	onHost(t, host, "rm f2")
	eventually(t, "no file", func() bool { _, err := os.Stat(g + "2"); return err != nil })
	if got := read(); got != "two" {
		t.Errorf("a removed file that is open reads %q", got)
	}
}

func TestKernel_OneFile(t *testing.T) {
	host, guest := mounted(t, "file")
	read := func() string {
		b, err := os.ReadFile(guest)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	if got := read(); got != "first" {
		t.Errorf("read %q", got)
	}
	onHost(t, host, "printf second >new; mv new file")
	eventually(t, "another file of the name", func() bool { return read() == "second" })
	check(t, os.WriteFile(guest, []byte("third"), 0o644))
	if b, err := os.ReadFile(filepath.Join(host, "file")); string(b) != "third" {
		t.Errorf("on the host it reads %q, %v", b, err)
	}
	onHost(t, host, "printf fourth >file")
	eventually(t, "new content", func() bool { return read() == "fourth" })
	for _, other := range []string{"mkfifo", "mkdir", "ln -s new"} {
		onHost(t, host, "rm file; "+other+" file")
		// Longer than it takes for an event of the host to reach the kernel.
		for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
			if got := read(); got != "fourth" {
				t.Fatalf("after %s it reads %q", other, got)
			}
		}
		onHost(t, host, "rm -r file; printf fourth >file")
		eventually(t, "the file after "+other, func() bool { return read() == "fourth" })
	}
}

// setVar names a file for this program to give capabilities to, as another process.
const setVar = "SHARE_TEST_SET"

const (
	capabilityName = "security.capability"
	bindService    = "\x00\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // CAP_NET_BIND_SERVICE, version 2
)

func TestMain(m *testing.M) {
	if file := os.Getenv(setVar); file != "" {
		if err := unix.Setxattr(file, capabilityName, []byte(bindService), 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestKernel_Capabilities: they are seen whoever sets them, and a write takes them away,
// though the kernel is not let ask each time.
func TestKernel_Capabilities(t *testing.T) {
	host, guest := mounted(t, "")
	has := func(file string) bool {
		b := make([]byte, 64)
		n, err := unix.Getxattr(file, capabilityName, b)
		if err != nil && err != unix.ENODATA {
			t.Fatal(err)
		}
		return err == nil && string(b[:n]) == bindService
	}
	for i := range 3 {
		g, h := filepath.Join(guest, fmt.Sprint(i)), filepath.Join(host, fmt.Sprint(i))
		f, err := os.OpenFile(g, os.O_CREATE|os.O_RDWR, 0o755)
		check(t, err)
		defer f.Close()
		if i == 1 {
			_, err = f.WriteString("first")
			check(t, err)
		}
		if i == 2 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), setVar+"="+h)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("set on the host: %v: %s", err, out)
			}
			eventually(t, "capabilities set on the host", func() bool { return has(g) })
		} else {
			check(t, unix.Setxattr(g, capabilityName, []byte(bindService), 0))
		}
		if !has(g) || !has(h) {
			t.Errorf("%d: capabilities are there: in the guest %v, on the host %v", i, has(g), has(h))
		}
		_, err = f.WriteString("more")
		check(t, err)
		if has(g) || has(h) {
			t.Errorf("%d: capabilities after a write: in the guest %v, on the host %v", i, has(g), has(h))
		}
	}
}
