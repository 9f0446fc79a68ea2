package chart

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/porthole-run/porthole/internal/phase"
)

// barWidth is how many characters stand for the longest call.
const barWidth = 40

// Text writes a pod's calls with their phases, each with a bar that begins and ends where
// the phase does within its call, and what took longest.
func Text(w io.Writer, h phase.History) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\n", title(h))
	var longest time.Duration
	for _, c := range h.Calls {
		longest = max(longest, c.Took)
	}
	for _, c := range h.Calls {
		fmt.Fprintf(b, "\n%s  %s\n", callName(c), c.Begun.UTC().Format("15:04:05.000"))
		writeRow(b, "", "(all)", 0, c.Took, longest, c.Error)
		for _, r := range rows(c.Spans) {
			writeRow(b, strings.Repeat("  ", r.depth+1), r.Name, r.Start, r.Took, longest, r.Error)
		}
	}
	if own := ownTimes(h); len(own) > 0 {
		fmt.Fprint(b, "\nLongest, without what is a part of it:\n")
		for _, o := range own[:min(5, len(own))] {
			fmt.Fprintf(b, "  %-30s %9s\n", o.name, millis(o.took))
		}
	}
	return b.Flush()
}

// title says which pod it is.
func title(h phase.History) string {
	name := h.Pod.Name
	if h.Pod.Namespace != "" {
		name = h.Pod.Namespace + "/" + name
	}
	return printable(fmt.Sprintf("pod %s  id %s", cmp.Or(name, "(no name)"), cmp.Or(short(h.Pod.ID), "not known")))
}

func short(id string) string { return id[:min(13, len(id))] }

func callName(c phase.Call) string {
	out := c.Name
	for _, s := range []string{c.Container, c.Image} {
		if s != "" {
			out += " " + s
		}
	}
	return printable(out)
}

func writeRow(w io.Writer, indent, name string, start, took, whole time.Duration, err string) {
	fmt.Fprintf(w, "  %-28s %9s  %s", indent+name, millis(took), bar(start, took, whole))
	if err != "" {
		fmt.Fprintf(w, "  %s", printable(err))
	}
	fmt.Fprintln(w)
}

// printable is text that a guest may have written, made harmless for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// bar is a bar of what lies between start and start+took, where barWidth is whole.
func bar(start, took, whole time.Duration) string {
	if whole <= 0 {
		return ""
	}
	from := int(barWidth * start / whole)
	to := int((barWidth*(start+took) + whole/2) / whole)
	return strings.Repeat(" ", from) + strings.Repeat("█", max(1, to-from))
}

// row is a phase and how deep it lies.
type row struct {
	phase.Span
	depth int
}

// rows are the phases in the order of reading: each before its parts, parts by their begin.
func rows(spans []phase.Span) []row {
	parts := map[int][]int{}
	for i, s := range spans {
		parts[s.Parent] = append(parts[s.Parent], i)
	}
	var out []row
	var walk func(parent, depth int)
	walk = func(parent, depth int) {
		list := parts[parent]
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(spans[a].Start, spans[b].Start) })
		for _, i := range list {
			out = append(out, row{spans[i], depth})
			walk(i, depth+1)
		}
	}
	walk(phase.Root, 0)
	return out
}

// ownTime is what phases of one name took besides their parts.
type ownTime struct {
	name string
	took time.Duration
}

// ownTimes are the phases of all calls, the longest first. What no phase of a call covers
// is the call's own.
func ownTimes(h phase.History) []ownTime {
	sum := map[string]time.Duration{}
	for _, c := range h.Calls {
		sum[c.Name] += c.Took - covered(c.Spans, phase.Root)
		for i, s := range c.Spans {
			sum[s.Name] += s.Took - covered(c.Spans, i)
		}
	}
	var out []ownTime
	for name, took := range sum {
		if took > 0 {
			out = append(out, ownTime{name, took})
		}
	}
	slices.SortFunc(out, func(a, b ownTime) int {
		return cmp.Or(-cmp.Compare(a.took, b.took), cmp.Compare(a.name, b.name))
	})
	return out
}

// covered is how long at least one part of a phase ran.
func covered(spans []phase.Span, parent int) time.Duration {
	var parts []phase.Span
	for _, s := range spans {
		if s.Parent == parent {
			parts = append(parts, s)
		}
	}
	slices.SortFunc(parts, func(a, b phase.Span) int { return cmp.Compare(a.Start, b.Start) })
	var sum, until time.Duration
	for _, s := range parts {
		from, to := max(s.Start, until), s.Start+s.Took
		if to > from {
			sum += to - from
			until = to
		}
	}
	return sum
}
