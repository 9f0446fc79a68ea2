package chart

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"github.com/porthole-run/porthole/internal/phase"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

type pageData struct {
	Title string
	Took  string
	Rows  []pageRow
	Own   []pageOwn
}

type pageRow struct {
	Call        bool
	Depth       int
	Name, Took  string
	Error       string
	Left, Width float64 // percent of the whole
}

type pageOwn struct {
	Name, Took string
}

// HTML writes one page with a pod's calls as a waterfall over the time from the first
// call's begin to the last one's end.
func HTML(w io.Writer, h phase.History) error {
	d := pageData{Title: title(h)}
	begun, whole := extent(h)
	d.Took = millis(whole)
	add := func(call bool, depth int, name, err string, start, took time.Duration) {
		r := pageRow{Call: call, Depth: depth, Name: name, Took: millis(took), Error: err}
		if whole > 0 {
			r.Left, r.Width = 100*float64(start)/float64(whole), 100*float64(took)/float64(whole)
		}
		d.Rows = append(d.Rows, r)
	}
	for _, c := range h.Calls {
		at := c.Begun.Sub(begun)
		add(true, 0, callName(c), c.Error, at, c.Took)
		for _, r := range rows(c.Spans) {
			add(false, r.depth+1, r.Name, r.Error, at+r.Start, r.Took)
		}
	}
	for _, o := range ownTimes(h) {
		d.Own = append(d.Own, pageOwn{o.name, millis(o.took)})
	}
	return page.Execute(w, d)
}

// extent is when the first call began, and how long it took from then to the end of the last.
func extent(h phase.History) (begun time.Time, whole time.Duration) {
	var end time.Time
	for _, c := range h.Calls {
		if begun.IsZero() || c.Begun.Before(begun) {
			begun = c.Begun
		}
		if e := c.Begun.Add(c.Took); e.After(end) {
			end = e
		}
	}
	return begun, end.Sub(begun)
}
