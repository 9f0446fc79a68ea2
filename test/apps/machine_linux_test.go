package apps

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/porthole-run/porthole/test/apps/appimage"
)

// machine is where containers run together, with one loopback: a pod. Its methods end
// the test when they cannot do their work.
type machine interface {
	// run starts a container.
	run(t *testing.T, s spec) container
	// crash ends the machine at once, as a loss of power would. Nothing runs in it then.
	crash(t *testing.T)
}

// container is one that was started. It ends with its machine.
type container interface {
	// try runs a shell script in the container, as its user, and returns what it printed
	// on both streams, and how it ended. It is the one method that may run while others do.
	try(script string) (out string, code int, err error)
	// kill ends all processes of the container with SIGKILL.
	kill(t *testing.T)
	// running is false once the container's first process has ended.
	running(t *testing.T) bool
	// log is what the container has printed so far.
	log(t *testing.T) string
}

// spec says what a container runs.
type spec struct {
	name    string
	app     appimage.App
	script  string            // for bash
	folders map[string]string // host folders by their path in the container
	env     []string          // KEY=value
}

// newMachine makes a machine of the lane; it ends with the test.
func newMachine(t *testing.T) machine {
	t.Helper()
	if env.lane == "pod" {
		return newPod(t)
	}
	return newHost(t)
}

// native tells lanes without emulation, which stand a higher load.
func native() bool { return env.lane != "pod" }

// load is how much of something a test does: under emulation, and without.
func load(emulated, fast int) int {
	if native() {
		return fast
	}
	return emulated
}

// folder makes an empty host folder that belongs to the application.
func folder(t *testing.T, app appimage.App) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, app.UID, app.UID); err != nil {
		t.Fatal(err)
	}
	return dir
}

// exec runs a script that must succeed.
func exec(t *testing.T, c container, script string) string {
	t.Helper()
	out, code, err := c.try(script)
	if err != nil || code != 0 {
		t.Fatalf("%s\nexited with %d, %v:\n%s\nthe container's log:\n%s", script, code, err, tail(out), tail(c.log(t)))
	}
	return strings.TrimSpace(out)
}

// await runs a script until it succeeds, while the container runs.
func await(t *testing.T, c container, what, script string) {
	t.Helper()
	begin := time.Now()
	for {
		out, code, err := c.try(fmt.Sprintf("for ((i = 0; i < 100; i++)); do %s && exit 0; sleep 0.3; done; exit 1", script))
		if err == nil && code == 0 {
			t.Logf("%s after %.1f s", what, time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > 5*time.Minute || !c.running(t) {
			t.Fatalf("not after %.1f s: %s: %v\n%s\nthe container's log:\n%s", time.Since(begin).Seconds(), what, err, tail(out), tail(c.log(t)))
		}
	}
}

// timed runs a step and logs how long it took.
func timed(t *testing.T, what string, step func()) {
	t.Helper()
	begin := time.Now()
	step()
	t.Logf("%s: %.1f s", what, time.Since(begin).Seconds())
}

// inBackground runs a script until the container is killed, and returns a function that
// waits for its end.
func inBackground(t *testing.T, c container, script string) (wait func()) {
	t.Helper()
	done := make(chan struct{})
	var out string
	go func() {
		defer close(done)
		out, _, _ = c.try(script)
	}()
	return func() {
		select {
		case <-done:
			t.Logf("the load ended: %s", tail(out))
		case <-time.After(time.Minute):
			t.Error("the load goes on a minute after its container was killed")
		}
	}
}

// acknowledged waits until a load has written at least n lines to a file on the host.
func acknowledged(t *testing.T, file string, n int) {
	t.Helper()
	begin := time.Now()
	for {
		got := len(lines(file))
		if got >= n {
			t.Logf("%d acknowledged after %.1f s", got, time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > 3*time.Minute {
			t.Fatalf("only %d of %d acknowledged after 3 minutes", got, n)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// lines returns the whole lines of a file; none when it is not there.
func lines(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	all := strings.Split(string(text), "\n")
	return all[:len(all)-1]
}

// checkOwner looks at a folder on the host: all in it belongs to the application, and
// it holds the files that are named.
func checkOwner(t *testing.T, dir string, app appimage.App, want ...string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != app.UID || int(st.Gid) != app.UID {
			t.Errorf("%s belongs to %d:%d on the host, want %d:%d", path, st.Uid, st.Gid, app.UID, app.UID)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range want {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d files on the host", n)
}

func tail(s string) string { return s[max(0, len(s)-3000):] }
