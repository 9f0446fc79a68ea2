package qmp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/porthole-run/porthole/internal/tame"
)

// MaxLine bounds one message from QEMU, in bytes.
const MaxLine = 256 << 10

// Command is one command to run.
type Command struct {
	Name string
	Args any      // marshals to a JSON object; nil: none
	File *os.File // passed along with the command; stays the caller's
}

// Result is the answer to one Command.
type Result struct {
	Value json.RawMessage
	Err   error
}

// Event is something that QEMU told without being asked.
type Event struct {
	Name string
	Data json.RawMessage
}

// Error is QEMU's refusal of a command.
type Error struct {
	Command string
	Class   string
	Desc    string // tamed
}

func (e *Error) Error() string {
	return fmt.Sprintf("qmp %s: %s", e.Command, e.Desc)
}

// request is a command as it goes out.
type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// message is any line that comes in. Exactly one of its kinds is set.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	ID    *uint64         `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// parse reads one line.
func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("parse %q: %w", tame.Line(string(line), 80), err)
	}
	kinds := 0
	for _, set := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("message %q is of no known kind", tame.Line(string(line), 80))
	}
	m.Return = bytes.Clone(m.Return)
	m.Data = bytes.Clone(m.Data)
	return m, nil
}
