package account

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Limits on an image's files. They are far above what a real image holds.
const (
	maxFile = 8 << 20 // bytes of one file
	maxLine = 1 << 20 // bytes of one line: a group lists its members on one
	maxID   = 1<<31 - 1
)

// userEntry is one line of a passwd file.
type userEntry struct {
	name     string
	uid, gid uint32
	home     string
}

// groupEntry is one line of a group file.
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// eachLine calls f with the fields of each line that has at least n of them. It
// stops when f says so.
func eachLine(name string, r io.Reader, n int, f func(fields []string) (more bool)) error {
	if r == nil {
		return nil
	}
	lr := &io.LimitedReader{R: r, N: maxFile + 1}
	s := bufio.NewScanner(lr)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if lr.N <= 0 {
			break
		}
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, ":")
		if len(fields) >= n && !f(fields) {
			return nil
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read the image's %s: %w: %w", name, err, errdefs.ErrInvalidArgument)
	}
	if lr.N <= 0 {
		return fmt.Errorf("the image's %s is larger than %d bytes: %w", name, maxFile, errdefs.ErrInvalidArgument)
	}
	return nil
}

// eachUser calls f with each entry of a passwd file until f returns false.
func eachUser(r io.Reader, f func(userEntry) bool) error {
	return eachLine("/etc/passwd", r, 4, func(v []string) bool {
		uid, ok1 := parseID(v[2])
		gid, ok2 := parseID(v[3])
		if v[0] == "" || !ok1 || !ok2 {
			return true
		}
		e := userEntry{name: v[0], uid: uid, gid: gid}
		if len(v) > 5 {
			e.home = v[5]
		}
		return f(e)
	})
}

// eachGroup calls f with each entry of a group file until f returns false.
func eachGroup(r io.Reader, f func(groupEntry) bool) error {
	return eachLine("/etc/group", r, 3, func(v []string) bool {
		gid, ok := parseID(v[2])
		if v[0] == "" || !ok {
			return true
		}
		e := groupEntry{name: v[0], gid: gid}
		if len(v) > 3 && v[3] != "" {
			e.members = strings.Split(v[3], ",")
		}
		return f(e)
	})
}

// parseID reads a decimal user or group id.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= maxID
}
