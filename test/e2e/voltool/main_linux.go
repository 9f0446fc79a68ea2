// Command voltool does in a container what a shell cannot: it tells inotify events, takes
// locks, echoes datagrams, and says what it was given of randomness. Tests mount it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "voltool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "identity" {
		return identity()
	}
	if len(args) != 2 {
		return errors.New("want identity, watch DIR, flock FILE, posix FILE, tryflock FILE, map FILE, cached FILE or udpecho PORT")
	}
	switch args[0] {
	case "watch":
		return watch(args[1])
	case "flock":
		return lock(args[1], func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) })
	case "tryflock":
		return lock(args[1], func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	case "posix":
		return lock(args[1], func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
		})
	case "map":
		return lock(args[1], func(fd int) error {
			_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		})
	case "cached":
		return cached(args[1])
	case "udpecho":
		return datagrams(args[1])
	}
	return fmt.Errorf("%s is not known", args[0])
}

// lock takes a lock, says so, and holds it until standard input ends.
func lock(file string, take func(fd int) error) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := take(int(f.Fd())); err != nil {
		return err
	}
	fmt.Println("locked")
	os.Stdin.Read(make([]byte, 1))
	return f.Close()
}

// cached writes a file through one handle and looks for it in what another, for reading,
// has had read before.
func cached(file string) error {
	w, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	got := make([]byte, 8192)
	for i := range 100 {
		want := strings.Repeat(string(rune('a'+i%26)), len(got))
		if _, err := w.WriteAt([]byte(want), 0); err != nil {
			return err
		}
		if _, err := r.ReadAt(got, 0); err != nil || string(got) != want {
			return fmt.Errorf("write %d reads %.8q, %w", i, got, err)
		}
	}
	fmt.Println("same")
	return nil
}

var names = []struct {
	bit  uint32
	name string
}{
	{unix.IN_CREATE, "CREATE"}, {unix.IN_MODIFY, "MODIFY"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"}, {unix.IN_ATTRIB, "ATTRIB"},
	{unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_DELETE, "DELETE"},
	{unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_Q_OVERFLOW, "OVERFLOW"},
}

// watch prints a folder's events, one a line, after a line "ready".
func watch(dir string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	var mask uint32
	for _, n := range names {
		mask |= n.bit
	}
	if _, err := unix.InotifyAddWatch(fd, filepath.Clean(dir), mask&^unix.IN_Q_OVERFLOW); err != nil {
		return err
	}
	fmt.Println("ready")
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, b)
		if err != nil {
			return err
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[at]))
			at += unix.SizeofInotifyEvent
			name := strings.TrimRight(string(b[at:at+int(e.Len)]), "\x00")
			at += int(e.Len)
			for _, k := range names {
				if e.Mask&k.bit != 0 {
					fmt.Println(k.name, name)
				}
			}
		}
	}
}
