package shim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
)

// diedUnexpectedly is the error of a shim that has left no exit record: it panicked, or was
// killed. Its log is for who looks into it; an error is one sentence, with what the log
// tells of the reason.
func (f folder) diedUnexpectedly() error {
	if words := lastWords(endOf(f.log())); words != "" {
		return fmt.Errorf("shim died unexpectedly: %s: %w", words, errdefs.ErrUnavailable)
	}
	return fmt.Errorf("shim died unexpectedly and logged no reason, as one that was killed: %w", errdefs.ErrUnavailable)
}

// lastWords finds in the end of a shim's log what it died of: a panic of the program, which
// is no record of the log, else the last record of an error, else the last line that is no
// record.
func lastWords(log string) string {
	var last, plain string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return cleanTail([]byte(cut(line, maxWords))) // what follows are stacks
		}
		var r map[string]any
		if json.Unmarshal([]byte(line), &r) != nil {
			plain = cmp.Or(line, plain)
			continue
		}
		if r["level"] != "ERROR" {
			continue
		}
		last, _ = r["msg"].(string)
		if cause, ok := r[logkey.Error].(string); ok && cause != "" {
			last += ": " + cause
		}
	}
	return cleanTail([]byte(cut(cmp.Or(last, plain), maxWords)))
}

// maxWords bounds what is quoted of a log.
const maxWords = 1 << 10

// logEnd is how much of a log is looked at: a panic comes before the stacks of all goroutines.
const logEnd = 64 << 10

// endOf returns the end of a file; "" when it cannot be read.
func endOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(st.Size(), logEnd))
	n, _ := f.ReadAt(b, st.Size()-int64(len(b))) // what could be read is better than nothing
	return string(b[:n])
}
