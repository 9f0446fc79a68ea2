package selftest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/undo"
)

// Row is one assumption.
type Row struct {
	ID      string
	Part    Part
	Assumed string // what is assumed
	Shows   string // where it shows when it is not so
	Do      string // what to do then; empty: nothing can be
	// Disruptive: the check ends VMs and containers of the host.
	Disruptive bool

	run   func(ctx context.Context, b *bench) verdict
	areas []string // of the POSIX card, in place of run
}

// Part is what rows are about, and the heading of their table.
type Part string

// Parts, in the order of the document.
const (
	PartVM      Part = "VMs: the Host Compute Service and sockets"
	PartNetwork Part = "Networks: the Host Network Service"
	PartShare   Part = "Volumes: NTFS"
	PartEdge    Part = "Clients of this host: named pipes and folders"
)

// verdict is what a check says.
type verdict struct {
	outcome Outcome
	detail  string
}

func holds(format string, args ...any) verdict { return verdict{Holds, fmt.Sprintf(format, args...)} }
func fails(format string, args ...any) verdict { return verdict{Fails, fmt.Sprintf(format, args...)} }
func unclear(format string, args ...any) verdict {
	return verdict{Unclear, fmt.Sprintf(format, args...)}
}
func notRun(format string, args ...any) verdict { return verdict{NotRun, fmt.Sprintf(format, args...)} }

// Rows is the list of what only a real host can prove, in the order of docs/windows.md.
func Rows() []Row { return slices.Concat(vmRows, networkRows, shareRows, edgeRows) }

// Options say which rows to run, and who hears of it.
type Options struct {
	// Only has ids of rows or parts of them; empty: all.
	Only []string
	// Facts go into the report.
	Facts []Fact
	// Begin is called before each row, and End after it with the report so far: a host that
	// crashes in a row leaves its name. Both may be nil.
	Begin func(Row)
	End   func(Report)
}

// Run makes the checks one after another until ctx ends; those that end VMs of the host come
// last. The report has a line for each row, whatever happens.
func Run(ctx context.Context, l Lab, o Options) Report {
	l.Times = l.Times.orDefaults()
	start := time.Now()
	report := newReport(l.Version, o.Facts, start)
	b := &bench{lab: l}
	rows := Rows()
	slices.SortStableFunc(rows, func(x, y Row) int {
		switch {
		case x.Disruptive == y.Disruptive:
			return 0
		case x.Disruptive:
			return 1
		}
		return -1
	})
	rows = slices.DeleteFunc(rows, func(r Row) bool { return !o.wants(r) })
	for _, r := range rows {
		b.areas = append(b.areas, r.areas...)
	}
	for _, r := range rows {
		if o.Begin != nil {
			o.Begin(r)
		}
		report.Results = append(report.Results, r.check(ctx, b))
		report.Seconds = time.Since(start).Seconds()
		if o.End != nil {
			o.End(report)
		}
	}
	if err := b.close(ctx); err != nil {
		report.Results = append(report.Results, Result{ID: "left-overs", Assumed: "What the checks made is gone", Outcome: Fails, Detail: err.Error()})
	}
	report.Seconds = time.Since(start).Seconds()
	return report
}

func (o Options) wants(r Row) bool {
	return len(o.Only) == 0 || slices.ContainsFunc(o.Only, func(s string) bool { return strings.Contains(r.ID, s) })
}

func (r Row) check(ctx context.Context, b *bench) Result {
	out := Result{ID: r.ID, Assumed: r.Assumed, Do: r.Do}
	start := time.Now()
	v := func() (v verdict) {
		defer func() {
			if p := recover(); p != nil {
				v = fails("the check panicked: %v", p)
			}
		}()
		switch {
		case ctx.Err() != nil:
			return notRun("%v", ctx.Err())
		case r.Disruptive && b.lab.Restart == nil:
			return notRun("it ends every VM and container of this host: porthole selftest --disruptive, on a host without pods")
		}
		if len(r.areas) > 0 {
			return b.checkAreas(ctx, r.areas)
		}
		return r.run(ctx, b)
	}()
	out.Took = time.Since(start)
	out.Millis = out.Took.Milliseconds()
	out.Outcome, out.Detail = v.outcome, v.detail
	return out
}

// bench is what rows of one run share.
type bench struct {
	lab   Lab
	main  *guestVM // the VM that most rows look at; nil: not made yet
	areas []string // of the POSIX card, that rows of this run look at
	card  *cardRun // of these areas; nil: not run yet
	next  int      // of names
	undo  undo.Stack
}

// closeTimeout bounds the taking down of what checks made.
const closeTimeout = time.Minute

// close takes down what rows shared.
func (b *bench) close(ctx context.Context) error {
	if err := b.undo.Run(ctx, closeTimeout); err != nil {
		return fmt.Errorf("what the checks made was not all taken down: %w", err)
	}
	return nil
}

// name is a new name for what a check makes.
func (b *bench) name() string {
	b.next++
	return fmt.Sprintf("selftest-%d", b.next)
}

// errMissing is of a part that a host lacks.
func errMissing(err error, what string) error {
	if err == nil {
		err = errors.New("it is not there")
	}
	return fmt.Errorf("%s: %w", what, err)
}
