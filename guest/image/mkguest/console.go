package main

import (
	"fmt"
	"io"
	"time"
)

// console prints the progress in plain lines. It is used by one goroutine.
type console struct {
	w     io.Writer
	start time.Time
}

func newConsole(w io.Writer) *console { return &console{w: w, start: time.Now()} }

func (c *console) say(format string, args ...any) {
	fmt.Fprintf(c.w, "[guest] "+format+"\n", args...)
}

func (c *console) warn(format string, args ...any) { c.say("WARNING: "+format, args...) }

// step says what begins and, when it went well, how long it took.
func (c *console) step(what string, do func() error) error {
	c.say("%s ...", what)
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.say("%s: %s", what, round(time.Since(start)))
	return nil
}

func (c *console) total() time.Duration { return round(time.Since(c.start)) }

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
