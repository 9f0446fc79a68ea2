package crun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"

	"github.com/containerd/errdefs"
)

// maxLog is how much of a call's log is read.
const maxLog = 64 << 10

var missing = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("executable file [`'\"](.*)[`'\"] not found")
})

// limit is what crun says of a limit that the kernel does not take: the cgroup file, that
// nothing has such a file, or that what was to start had no memory to do so.
var limit = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^(write|write to|write file|opening file) `(/sys/fs/cgroup/[^`]*/)?(cpu|cpuset|hugetlb|io|memory|pids)\\.[^`/]*`" +
		"|^writing file `?(cpu|cpuset|hugetlb|io|memory|pids)\\.[^`/ ]*`?: (Invalid argument|Numerical result out of range)" +
		"|^the requested cgroup controller `[^`]*` is not available|the memory limit could be too low")
})

// unlike is what crun says of a file that is to be mounted on a folder, or the other way
// round, both of which are the caller's.
var unlike = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^mount `[^`]*` to `/?([^`]*)`: (Not a directory|Is a directory)")
})

// profile is what crun says of a seccomp profile that it cannot make a filter of.
var profile = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^(seccomp (get|add) |seccomp_rule_add|invalid seccomp action|unknown seccomp option|errno value specified for action)")
})

// logError makes an error of a failed call from its log, JSON lines of which the last
// error counts, and of what command (the first argument of the process, or "") it ran.
func logError(call, command string, code uint32, log []byte) error {
	msg := ""
	for line := range bytes.Lines(log) {
		var l struct{ Msg, Level string }
		if json.Unmarshal(line, &l) == nil && l.Msg != "" && (l.Level == "error" || l.Level == "") {
			msg = l.Msg
		}
	}
	switch {
	case msg == "":
		msg = fmt.Sprintf("exited with %d", code)
	case limit().MatchString(msg):
		return fmt.Errorf("resources: crun %s: %s: %w", call, msg, errdefs.ErrInvalidArgument)
	case unlike().MatchString(msg):
		return fmt.Errorf("mount at /%s: one of a file and a folder cannot be mounted on the other: %w",
			unlike().FindStringSubmatch(msg)[1], errdefs.ErrInvalidArgument)
	case profile().MatchString(msg):
		return fmt.Errorf("seccomp profile: crun %s: %s: %w", call, msg, errdefs.ErrInvalidArgument)
	case missing().MatchString(msg):
		return fmt.Errorf("executable file %q not found: %w", missing().FindStringSubmatch(msg)[1], errdefs.ErrInvalidArgument)
	case bytes.HasPrefix([]byte(msg), []byte("open executable")) && command != "":
		return fmt.Errorf("executable file %q not found or not executable: %s: %w", command, msg, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("crun %s: %s: %w", call, msg, errdefs.ErrInternal)
}
