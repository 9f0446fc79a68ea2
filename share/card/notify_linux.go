package card

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// eventNames are in the order in which one record's are told.
var eventNames = []struct {
	mask uint32
	name string
}{
	{unix.IN_CREATE, "CREATE"}, {unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_DELETE, "DELETE"},
	{unix.IN_MODIFY, "MODIFY"}, {unix.IN_ATTRIB, "ATTRIB"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"},
	{unix.IN_MOVE_SELF, "MOVE_SELF"}, {unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_Q_OVERFLOW, "OVERFLOW"},
}

var _ Notifier = (*realProc)(nil)

// Watch implements Notifier.
func (p *realProc) Watch(path string) error {
	return p.do(func() (err error) {
		if p.inotify == 0 {
			if p.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
				return err
			}
		}
		var mask uint32
		for _, e := range eventNames {
			mask |= e.mask
		}
		_, err = unix.InotifyAddWatch(p.inotify, path, mask|unix.IN_DONT_FOLLOW)
		return err
	})
}

// Events implements Notifier.
func (p *realProc) Events(wait time.Duration) ([]string, error) {
	var all []string
	time.Sleep(wait)
	err := p.do(func() error {
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(p.inotify, buf)
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			if err != nil {
				return err
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				mask, cookie := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
				size := int(binary.NativeEndian.Uint32(b[12:]))
				name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
				for _, e := range eventNames {
					if mask&e.mask == 0 {
						continue
					}
					s := strings.TrimSpace(e.name + " " + name)
					if mask&unix.IN_ISDIR != 0 {
						s += "/"
					}
					if e.mask == unix.IN_MOVED_TO && cookie != p.cookie {
						s += " of another"
					}
					all = append(all, s)
				}
				p.cookie = cookie
				b = b[unix.SizeofInotifyEvent+size:]
			}
		}
	})
	return all, err
}
