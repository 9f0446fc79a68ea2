package phase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ErrMalformed is of what another process told that cannot be.
var ErrMalformed = errors.New("malformed")

// Bounds of what another process tells.
const (
	maxWire  = 64 << 10
	maxName  = 64
	maxError = 512
	maxTook  = 24 * time.Hour
)

// wire is a call's phases between processes.
type wire struct {
	Took  time.Duration `json:"took"` // of the whole call
	Spans []Span        `json:"spans"`
}

// Encode returns what the call of ctx has recorded, for its caller to Graft; nil when it
// records nothing.
func Encode(ctx context.Context) []byte {
	w, ok := at(ctx)
	if !ok {
		return nil
	}
	return w.r.Encode()
}

// Encode returns the phases for another process to Graft.
func (r *Recorder) Encode() []byte {
	b, err := json.Marshal(wire{Took: time.Since(r.begun), Spans: r.Spans()})
	if err != nil || len(b) > maxWire {
		return nil // only figures are lost
	}
	return b
}

// Graft makes what another process has encoded parts of the phase in ctx. The two
// processes have no clock in common: the other's time is put in the middle of the phase,
// as if the way there took as long as the way back. What is not well formed is
// ErrMalformed and changes nothing.
func Graft(ctx context.Context, encoded []byte) error {
	w, ok := at(ctx)
	if !ok || len(encoded) == 0 {
		return nil
	}
	other, err := decode(encoded)
	if err != nil {
		return err
	}
	w.r.graft(w.parent, other)
	return nil
}

// GraftAnswer is Graft of what an answer carries, if it is of a kind that does. What is not
// well formed is passed over: only figures are lost.
func GraftAnswer(ctx context.Context, answer any) {
	if told, ok := answer.(interface{ GetPhases() []byte }); ok {
		_ = Graft(ctx, told.GetPhases())
	}
}

func (r *Recorder) graft(parent int, other wire) {
	now := time.Since(r.begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	var begun time.Duration
	if parent != Root {
		begun = r.spans[parent].Start
	}
	begun += max(0, (now-begun-other.Took)/2)
	first := len(r.spans)
	for _, s := range other.Spans {
		if len(r.spans) == maxSpans {
			return
		}
		if s.Parent == Root {
			s.Parent = parent
		} else {
			s.Parent += first
		}
		s.Start += begun
		r.spans = append(r.spans, s)
	}
}

// decode reads what another process tells, which may be a guest: nothing of it is taken
// on trust.
func decode(b []byte) (wire, error) {
	var w wire
	if len(b) > maxWire {
		return w, fmt.Errorf("read phases: %d bytes: %w", len(b), ErrMalformed)
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return w, fmt.Errorf("read phases: %w: %w", err, ErrMalformed)
	}
	if len(w.Spans) > maxSpans || !sane(w.Took) {
		return w, fmt.Errorf("read phases: %d of them in %s: %w", len(w.Spans), w.Took, ErrMalformed)
	}
	for i, s := range w.Spans {
		if s.Parent < Root || s.Parent >= i || !sane(s.Start) || !sane(s.Took) || !plain(s.Name) {
			return w, fmt.Errorf("read phases: phase %d: %w", i, ErrMalformed)
		}
		w.Spans[i].Error = cut(s.Error, maxError)
	}
	return w, nil
}

func sane(d time.Duration) bool { return d >= 0 && d <= maxTook }

// plain tells whether a name is one: small letters, digits and spaces.
func plain(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != ' ' {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
