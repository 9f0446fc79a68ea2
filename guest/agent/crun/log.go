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
	kind := errdefs.ErrInternal
	switch {
	case msg == "":
		msg = fmt.Sprintf("exited with %d", code)
	case missing().MatchString(msg):
		return fmt.Errorf("executable file %q not found: %w", missing().FindStringSubmatch(msg)[1], errdefs.ErrInvalidArgument)
	case bytes.HasPrefix([]byte(msg), []byte("open executable")) && command != "":
		return fmt.Errorf("executable file %q not found or not executable: %s: %w", command, msg, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("crun %s: %s: %w", call, msg, kind)
}
