package etw

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// session is a sink that a trace session listens to.
type session struct {
	least  Level
	events []string
	fields [][]Field
	err    error
}

func (s *session) enabled(l Level) bool { return l <= s.least }

func (s *session) write(name string, l Level, fields []Field) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", name, l)
	for _, f := range fields {
		fmt.Fprintf(&b, " %s=%v", f.Name, f.Value)
	}
	s.events, s.fields = append(s.events, b.String()), append(s.fields, fields)
	return s.err
}

func TestHandler(t *testing.T) {
	s := &session{least: Info}
	l := slog.New(&handler{to: s}).With("pod_id", "1a2b").WithGroup("vm")
	l.Debug("not wanted")
	l.Info("vm starts", "cpus", 2, slog.Group("memory", "mib", uint64(256)), "after", 1500*time.Microsecond, "warm", true)
	l.Warn("slow", "error", errors.New("no answer"), "ratio", 0.5)
	l.Error("vm ended")
	want := []string{
		"Log 4 message=vm starts pod_id=1a2b vm.cpus=2 vm.memory.mib=256 vm.after=1.5ms vm.warm=true",
		"Log 3 message=slow pod_id=1a2b vm.error=no answer vm.ratio=0.5",
		"Log 2 message=vm ended pod_id=1a2b",
	}
	if diff := cmp.Diff(want, s.events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHandler_Bounds: ETW takes 64 KiB an event, and drops it whole when it is more.
func TestHandler_Bounds(t *testing.T) {
	s := &session{least: Verbose}
	l := slog.New(&handler{to: s})
	for n := range 2 * maxFields {
		l = l.With(fmt.Sprint("k", n), strings.Repeat("x", 2*maxText))
	}
	l.Debug("many")
	if n := len(s.fields[0]); n != maxFields {
		t.Errorf("%d fields, want %d", n, maxFields)
	}
	for _, f := range s.fields[0] {
		if len(fmt.Sprint(f.Value)) > maxText+len("…") {
			t.Errorf("field %s has %d bytes", f.Name, len(fmt.Sprint(f.Value)))
		}
	}
}

// TestHandler_Slog holds the handler against the rules of log/slog.
func TestHandler_Slog(t *testing.T) {
	s := &session{least: Verbose}
	err := slogtest.TestHandler(record{&handler{to: s}}, func() []map[string]any {
		var out []map[string]any
		for _, fields := range s.fields {
			m := map[string]any{}
			for _, f := range fields {
				at, path := m, strings.Split(f.Name, ".")
				for _, p := range path[:len(path)-1] {
					if at[p] == nil {
						at[p] = map[string]any{}
					}
					at = at[p].(map[string]any)
				}
				name := path[len(path)-1]
				if name == "message" {
					name = slog.MessageKey
				}
				at[name] = f.Value
			}
			out = append(out, m)
		}
		return out
	})
	if err != nil {
		t.Error(err)
	}
}

// record adds what an event has in its head, and not as a field: time and level.
type record struct{ *handler }

func (r record) Handle(ctx context.Context, rec slog.Record) error {
	n := len(r.to.(*session).fields)
	if err := r.handler.Handle(ctx, rec); err != nil {
		return err
	}
	s := r.to.(*session)
	s.fields[n] = append(s.fields[n], Field{slog.LevelKey, rec.Level})
	if !rec.Time.IsZero() {
		s.fields[n] = append(s.fields[n], Field{slog.TimeKey, rec.Time})
	}
	return nil
}

func (r record) WithAttrs(a []slog.Attr) slog.Handler {
	return record{r.handler.WithAttrs(a).(*handler)}
}
func (r record) WithGroup(n string) slog.Handler { return record{r.handler.WithGroup(n).(*handler)} }

// TestTee: each gets what it wants, and the log does not suffer from a trace that fails.
func TestTee(t *testing.T) {
	var text bytes.Buffer
	s := &session{least: Verbose, err: errors.New("no memory for it")}
	l := slog.New(Tee(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}), &handler{to: s})).With("a", 1)
	l.Debug("traced")
	l.Warn("both")
	if strings.Contains(text.String(), "traced") || !strings.Contains(text.String(), "msg=both a=1") || len(s.events) != 2 {
		t.Errorf("log %q, events %q", text.String(), s.events)
	}
	s.least = 0
	if l.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("a record that nobody wants is made")
	}
}

// TestID: the id is the name's, by the rule of EventSource.
func TestID(t *testing.T) {
	h := sha1.New()
	h.Write([]byte{0x48, 0x2C, 0x2D, 0xB2, 0xC3, 0x90, 0x47, 0xC8, 0x87, 0xF8, 0x1A, 0x15, 0xBF, 0xC1, 0x30, 0xFB})
	_ = binary.Write(h, binary.BigEndian, utf16.Encode([]rune(strings.ToUpper(Name))))
	b := h.Sum(nil)[:16]
	b[7] = b[7]&0xf | 0x50
	for _, r := range [][2]int{{0, 4}, {4, 6}, {6, 8}} { // little-endian words of a GUID
		for i, j := r[0], r[1]-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	s := hex.EncodeToString(b)
	if got := s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]; got != ID {
		t.Errorf("ID = %s, the name's is %s", ID, got)
	}
}
