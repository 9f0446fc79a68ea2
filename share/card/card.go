package card

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Outcome is what a check came to.
type Outcome uint8

// Outcomes.
const (
	Passed  Outcome = iota
	Failed          // and no exception says why
	Excused         // failed as an exception says
	Stale           // passed, though an exception says that it does not
	LeftOut         // the system lacks what it needs
)

// Result is one check's outcome.
type Result struct {
	Check   Check
	Outcome Outcome
	Err     error  // of Failed and Excused
	Reason  string // of Excused, Stale and LeftOut
}

// Card are the results of one system.
type Card struct {
	System  string
	Results []Result
	Took    time.Duration
}

// Options say which checks to run, and how.
type Options struct {
	// System names the system in the card and in the table of exceptions.
	System string
	// Dir is the folder of the system to work in; "" is its root.
	Dir string
	// Only has parts of names: checks that have none of them are not run. Empty: all.
	Only []string
	// Exceptions of this system. Those of other systems are passed over.
	Exceptions []Exception
}

// Run runs the checks one after another until ctx ends, and returns what there is then.
func Run(ctx context.Context, sys System, o Options) Card {
	start := time.Now()
	card := Card{System: o.System}
	for _, c := range Checks() {
		if ctx.Err() != nil {
			break
		}
		if len(o.Only) > 0 && !slices.ContainsFunc(o.Only, func(s string) bool { return strings.Contains(c.Name, s) }) {
			continue
		}
		card.Results = append(card.Results, o.judge(sys, c))
	}
	card.Took = time.Since(start)
	return card
}

func (o Options) judge(sys System, c Check) Result {
	for _, n := range c.Needs {
		if why := sys.Lacks(n); why != "" {
			return Result{c, LeftOut, nil, why}
		}
	}
	err := c.Run(sys, o.Dir)
	reason, excused := lookup(o.Exceptions, o.System, c.Name)
	switch {
	case err == nil && excused:
		return Result{c, Stale, nil, reason}
	case err == nil:
		return Result{c, Passed, nil, ""}
	case excused:
		return Result{c, Excused, err, reason}
	}
	return Result{c, Failed, err, ""}
}

// Count returns how many checks had an outcome.
func (c Card) Count(o Outcome) int {
	n := 0
	for _, r := range c.Results {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// OK tells whether all that ran passed, or failed for a stated reason.
func (c Card) OK() bool { return c.Count(Failed) == 0 && c.Count(Stale) == 0 && len(c.Results) > 0 }

// Print writes the card: a line for each area, then what did not pass.
func (c Card) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d checks passed", c.System, c.Count(Passed), len(c.Results))
	for _, k := range []struct {
		o    Outcome
		text string
	}{{Failed, "failed"}, {Excused, "differ for a reason"}, {Stale, "passed against an exception"}, {LeftOut, "left out"}} {
		if n := c.Count(k.o); n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, k.text)
		}
	}
	fmt.Fprintf(&b, " (%.1f s)\n", c.Took.Seconds())
	var areas []string
	for _, r := range c.Results {
		if !slices.Contains(areas, r.Check.Area) {
			areas = append(areas, r.Check.Area)
		}
	}
	for _, area := range areas {
		passed, total := 0, 0
		for _, r := range c.Results {
			if r.Check.Area == area {
				total++
				if r.Outcome == Passed {
					passed++
				}
			}
		}
		fmt.Fprintf(&b, "  %-12s %3d/%d\n", area, passed, total)
	}
	for _, r := range c.Results {
		switch r.Outcome {
		case Failed:
			fmt.Fprintf(&b, "  FAIL   %s: %v\n", r.Check.Name, r.Err)
		case Excused:
			fmt.Fprintf(&b, "  differ %s: %s (%v)\n", r.Check.Name, r.Reason, r.Err)
		case Stale:
			fmt.Fprintf(&b, "  STALE  %s passes: strike its exception (%s)\n", r.Check.Name, r.Reason)
		case LeftOut:
			fmt.Fprintf(&b, "  left   %s: %s\n", r.Check.Name, r.Reason)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
