package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

// The generated part of a document is between these lines.
const (
	beginMarker = "<!-- bench:begin: written by make bench, do not edit -->"
	endMarker   = "<!-- bench:end -->"

	beginShare = "<!-- bench-share:begin: written by make bench-share, do not edit -->"
	endShare   = "<!-- bench-share:end -->"

	beginFleet = "<!-- bench-fleet:begin: written by make bench, do not edit -->"
	endFleet   = "<!-- bench-fleet:end -->"

	beginDensity = "<!-- bench-density:begin: written by make bench-density, do not edit -->"
	endDensity   = "<!-- bench-density:end -->"
)

// report is what a run found.
type report struct {
	steps, layers, memory table
	boots, pulls          table // of Porthole alone
	// Of the sample, the same from the pool, and of the image with many layers.
	phases, poolPhases, deepPhases table
	notes                          []string
}

func (r *report) markdown() string {
	var b strings.Builder
	writeAims(&b, r.aims())
	b.WriteString("\nFigures are medians and their ratios; that of a boot is of mean CPU times.\n\n")
	b.WriteString(r.tables())
	return b.String()
}

// tables are all that the run found.
func (r *report) tables() string {
	var b strings.Builder
	r.steps.write(&b)
	if len(r.boots.rows) > 0 {
		b.WriteString("\nBoots without a template, of QEMU alone:\n\n")
		r.boots.writeOwn(&b)
	}
	if len(r.pulls.rows) > 0 {
		b.WriteString("\nPulls of a daemon of its own:\n\n")
		r.pulls.writeOwn(&b)
	}
	if len(r.layers.rows) > 0 {
		b.WriteString("\nA container of an image with 20 layers, of which 19 are small or of 3 MB, next to one with 1, all pulled and used before:\n\n")
		r.layers.write(&b)
	}
	for _, p := range []struct {
		title string
		t     *table
	}{
		{"What Porthole spends the time on with 20 layers (`porthole why-slow`):", &r.deepPhases},
		{"What Porthole's calls for a pod spend their time on:", &r.phases},
		{"The same with a VM from the warm pool:", &r.poolPhases},
	} {
		if len(p.t.rows) > 0 {
			fmt.Fprintf(&b, "\n%s\n\n", p.title)
			p.t.writePhases(&b)
		}
	}
	b.WriteString("\nMemory (proportional set size):\n\n")
	r.memory.write(&b)
	b.WriteString("\n")
	for _, n := range r.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}

// write prints the table as Markdown, with columns of equal width so that it reads on a
// terminal too. The ratio is of medians, Porthole's to containerd's.
func (t *table) write(w io.Writer) {
	lines := [][]string{{"", "unit", "Porthole median", "p95", "containerd + runc median", "p95", "ratio"}}
	withCPU := false
	for _, r := range t.rows {
		withCPU = withCPU || len(r.cpu) > 0
	}
	if withCPU {
		lines[0] = append(lines[0], "Porthole CPU s", "containerd CPU s")
	}
	for _, r := range t.rows {
		a, b := r.values[portholeName], r.values[containerdName]
		line := []string{r.name, r.unit.name,
			number(a.median(), r.unit.digit), r.tail(a),
			number(b.median(), r.unit.digit), r.tail(b),
			number(a.median()/b.median(), 2)}
		if withCPU {
			line = append(line, number(r.cpu[portholeName].mean(), 2), number(r.cpu[containerdName].mean(), 2))
		}
		lines = append(lines, line)
	}
	writeTable(w, lines, 2)
}

// writeOwn prints a table that has no peer.
func (t *table) writeOwn(w io.Writer) {
	lines := [][]string{{"", "unit", "median", "p95", "CPU s"}}
	for _, r := range t.rows {
		s := r.values[portholeName]
		lines = append(lines, []string{r.name, r.unit.name, number(s.median(), r.unit.digit), r.tail(s), number(r.cpu[portholeName].mean(), 2)})
	}
	writeTable(w, lines, 2)
}

// writeTable prints lines, the first of which is the head, as Markdown; the first columns
// are flush left.
func writeTable(w io.Writer, lines [][]string, left int) {
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, cell := range l {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for i, l := range lines {
		for j, cell := range l {
			pad := strings.Repeat(" ", widths[j]-len([]rune(cell)))
			if j < left {
				fmt.Fprintf(w, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(w, "| %s%s ", pad, cell)
			}
		}
		fmt.Fprintln(w, "|")
		if i > 0 {
			continue
		}
		for j, width := range widths {
			if j < left {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
			} else {
				fmt.Fprintf(w, "|%s:", strings.Repeat("-", width+1))
			}
		}
		fmt.Fprintln(w, "|")
	}
}

// tail is the slow end of samples; of a single one there is none.
func (r *row) tail(s samples) string {
	if len(s) < 2 {
		return "–"
	}
	if r.unit.rate {
		return number(s.quantile(0.05), r.unit.digit)
	}
	return number(s.quantile(0.95), r.unit.digit)
}

func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// replace puts text into the part of a document that the flags name.
func (o options) replace(doc, text string) (string, error) {
	if o.share {
		return replaceGenerated(doc, text, beginShare, endShare)
	}
	if o.fleet {
		return replaceGenerated(doc, text, beginFleet, endFleet)
	}
	if o.density {
		return replaceGenerated(doc, text, beginDensity, endDensity)
	}
	return replaceGenerated(doc, text, beginMarker, endMarker)
}

// replaceGenerated puts text between two markers of a document.
func replaceGenerated(doc, text, begin, end string) (string, error) {
	head, rest, ok := strings.Cut(doc, begin+"\n")
	if !ok {
		return "", fmt.Errorf("no line %q", begin)
	}
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("no line %q after %q", end, begin)
	}
	return head + begin + "\n\n" + text + "\n" + end + tail, nil
}

// rewrite changes a file, or with keep false only tries to.
func rewrite(path string, change func(string) (string, error), keep bool) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := change(string(old))
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	if !keep {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
