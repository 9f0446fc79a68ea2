package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVolumeMapping: of two pods that have a file open for reading and writing one may map
// it. The other reads and writes it as ever, and so does what else it has the file open for.
func TestVolumeMapping(t *testing.T) {
	p, q := runPod(t, env.server, named("a")), runPod(t, env.server, named("b"))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), strings.Repeat("0", 8192))
	first := p.start(idle("first", bind("/d", dir), toolMount(t)))
	second := q.start(idle("second", bind("/d", dir), toolMount(t)))
	first.exec("mkfifo /tmp/hold; sleep 1000 > /tmp/hold & /voltool map /d/f < /tmp/hold > /tmp/out 2>&1 &")
	eventually(t, "the first pod has mapped it", func() bool { return first.exec("cat /tmp/out") == "locked" })
	equal(t, "another mapping in the first pod", first.exec("/voltool map /d/f < /dev/null 2>&1"), "locked")
	if got := second.exec("/voltool map /d/f < /dev/null 2>&1; true"); !strings.Contains(got, "no such device") {
		t.Errorf("a mapping in the second pod: %q", got)
	}
	equal(t, "reads and writes in the second pod", second.exec("/voltool cached /d/f 2>&1; true"), "same")
	equal(t, "another file", second.exec("/voltool map /d/other < /dev/null 2>&1"), "locked")
	first.remove()
	eventually(t, "the second pod maps it", func() bool {
		return second.exec("/voltool map /d/f < /dev/null 2>&1; true") == "locked"
	})
}

// TestVolumeEvents_Alone: events that come with no other.
func TestVolumeEvents_Alone(t *testing.T) {
	p := runPod(t, env.server)
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file, "text")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	c := idle("watch", bind("/d", dir), toolMount(t))
	c.Command = []string{"/voltool", "watch", "/d"}
	k := p.start(c)
	eventually(t, "the folder is watched", func() bool { return strings.Contains(k.stdout(), "ready") })
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	eventually(t, "a close", func() bool { return strings.Contains(k.stdout(), "CLOSE_WRITE file") })
	now := []unix.Timespec{{Sec: 7}, {Sec: 7}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, link, now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
	eventually(t, "times of a link", func() bool { return strings.Contains(k.stdout(), "ATTRIB link") })
	if got := k.stdout(); strings.Contains(got, "MODIFY") {
		t.Errorf("a close gave %q", got)
	}
}
