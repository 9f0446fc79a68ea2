// Winclient does to porthole.exe what other programs of a host do: it holds files open,
// and connects to pipes. It says "ready", and ends when its input does.
//
//	winclient wait .         and does nothing: the machine stays up
//	winclient hold FILE      so that nobody renames it, as most programs
//	winclient share FILE     so that others may
//	winclient connect PIPE   and says nothing
//	winclient garble PIPE    and sends what is no HTTP/2
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: winclient wait|hold|share|connect|garble NAME")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "winclient:", err)
		os.Exit(1)
	}
}

func run(what, name string) error {
	switch what {
	case "wait":
	case "hold", "share":
		h, err := open(name, what == "share")
		if err != nil {
			return err
		}
		defer windows.CloseHandle(h)
	case "connect", "garble":
		c, err := connect(name)
		if err != nil {
			return err
		}
		defer c.Close()
		if what == "garble" {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%q is not known", what)
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func open(name string, share bool) (windows.Handle, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	mode := uint32(windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE)
	if share {
		mode |= windows.FILE_SHARE_DELETE
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ, mode, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return h, nil
}

func connect(name string) (net.Conn, error) {
	limit := 10 * time.Second
	return winio.DialPipe(name, &limit)
}
