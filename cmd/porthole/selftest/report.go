package selftest

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// Outcome is what a check came to.
type Outcome string

// Outcomes.
const (
	Holds   Outcome = "holds"
	Fails   Outcome = "fails"
	Unclear Outcome = "unclear" // it was tried, and what was seen does not decide it
	NotRun  Outcome = "not run"
)

// Result is one row's.
type Result struct {
	ID      string        `json:"id"`
	Assumed string        `json:"assumed"`
	Outcome Outcome       `json:"outcome"`
	Detail  string        `json:"detail"` // what was seen, with figures, or why it was not run
	Do      string        `json:"do,omitempty"`
	Took    time.Duration `json:"-"`
	Millis  int64         `json:"took_ms"`
}

// Fact is a line of what the run was made on: versions, sizes.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Report is what is sent back. It has no names of hosts, users or pods in it but for what errors
// of the system say.
type Report struct {
	Version  string    `json:"version"`
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Facts    []Fact    `json:"facts"`
	Results  []Result  `json:"results"`
}

func newReport(version string, facts []Fact, now time.Time) Report {
	return Report{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Started: now.UTC(), Facts: facts}
}

// Count returns how many rows had an outcome.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, x := range r.Results {
		if x.Outcome == o {
			n++
		}
	}
	return n
}

// Print writes the report as text.
func (r Report) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "porthole selftest %s (%s, %s) at %s\n", r.Version, r.Go, r.Platform, r.Started.Format(time.RFC3339))
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "  %-14s %s\n", f.Name, f.Value)
	}
	b.WriteString("\n")
	for _, x := range r.Results {
		b.WriteString(x.String())
	}
	fmt.Fprintf(&b, "\n%d of %d hold, %d fail, %d unclear, %d not run; %.1f s\n",
		r.Count(Holds), len(r.Results), r.Count(Fails), r.Count(Unclear), r.Count(NotRun), r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func (x Result) String() string {
	s := fmt.Sprintf("%-8s %-16s %6.1f s  %s\n", x.Outcome, x.ID, x.Took.Seconds(), indent(x.Detail))
	if x.Outcome == Fails {
		s += fmt.Sprintf("         assumed: %s\n", x.Assumed)
		if x.Do != "" {
			s += fmt.Sprintf("         so:      %s\n", x.Do)
		}
	}
	return s
}

// indent keeps a text of several lines together.
func indent(s string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n           ")
}
