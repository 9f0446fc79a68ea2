package hcs

import (
	"encoding/json"
	"strings"
	"unicode"
)

// Error is a call of HCS that failed. errors.Is finds its kind of errdefs.
type Error struct {
	Op     string   // the function, such as "HcsStartComputeSystem"
	ID     string   // of the compute system, or the path of a file; empty: neither
	Code   HRESULT  //
	Events []string // what HCS says of it, one message each; may be empty
}

// Error is on one line: "HcsStartComputeSystem 1a2b: 0x8037010e no such VM: message (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	b.WriteString(": " + e.Code.String())
	for _, m := range e.Events {
		b.WriteString(": " + m)
	}
	if h := e.Code.Hint(); h != "" {
		b.WriteString(" (" + h + ")")
	}
	return b.String()
}

// Unwrap is the kind of the error.
func (e *Error) Unwrap() error { return e.Code.Kind() }

// Bounds of what errors tell of a result document.
const (
	maxEvents      = 4
	maxEventRunes  = 400
	maxAttribution = 300
)

// resultError is the document that a failed operation leaves (ResultError in the schema).
type resultError struct {
	Error        int32             `json:"Error"`
	ErrorMessage string            `json:"ErrorMessage"`
	ErrorEvents  []errorEvent      `json:"ErrorEvents"`
	Attribution  []json.RawMessage `json:"Attribution"`
}

type errorEvent struct {
	Message string `json:"Message"`
}

// newError makes the error of a call that failed with code and left a document, which may
// be empty or, as it comes from a service of the system, of any form.
func newError(op, id string, code HRESULT, document string) *Error {
	e := &Error{Op: op, ID: id, Code: code}
	if document == "" {
		return e
	}
	var r resultError
	if err := json.Unmarshal([]byte(document), &r); err != nil {
		e.add(document, maxEventRunes)
		return e
	}
	e.add(r.ErrorMessage, maxEventRunes)
	for _, v := range r.ErrorEvents {
		e.add(v.Message, maxEventRunes)
	}
	for _, a := range r.Attribution {
		e.add("because of "+string(a), maxAttribution)
	}
	return e
}

// add takes a message unless it is empty, there already, or one too many.
func (e *Error) add(message string, limit int) {
	m := oneLine(message, limit)
	if m == "" || len(e.Events) >= maxEvents {
		return
	}
	for _, have := range e.Events {
		if have == m {
			return
		}
	}
	e.Events = append(e.Events, m)
}

// oneLine is s without what cannot be printed, cut to limit characters.
func oneLine(s string, limit int) string {
	s = strings.ToValidUTF8(s, "·")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.TrimRight(s, ". ")
}
