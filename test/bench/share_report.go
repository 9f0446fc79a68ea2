package main

import (
	"fmt"
	"strings"
)

// pgbenchRow is the database's row.
const pgbenchRow = "pgbench, transactions"

// shareRows are the rows in their order, and their units.
var shareRows = []struct{ name, unit string }{
	{"create", "1/s"}, {"stat, cold", "1/s"}, {"ls -l, per entry", "1/s"},
	{"list, then stat, per entry", "1/s"}, {"open, read, close", "1/s"}, {"rename", "1/s"}, {"unlink", "1/s"},
	{"sequential write", "MiB/s"}, {"sequential read", "MiB/s"}, {"sequential read again", "MiB/s"},
	{"4 KiB write and fdatasync", "1/s"}, {"4 KiB read, warm", "1/s"}, {pgbenchRow, "1/s"},
}

// shareReport is what a run of measureShares found: rates, more is better.
type shareReport struct {
	rates map[string]map[string]samples // by row, then by way
	notes []string
}

func (r *shareReport) add(row, way string, v float64) {
	if r.rates == nil {
		r.rates = map[string]map[string]samples{}
	}
	if r.rates[row] == nil {
		r.rates[row] = map[string]samples{}
	}
	r.rates[row][way] = append(r.rates[row][way], v)
}

// markdown is a table of medians and of what they tell against each other.
func (r *shareReport) markdown() string {
	ways := []string{ownDisk, onShare, shareTCP, plan9TCP}
	var b strings.Builder
	fmt.Fprintf(&b, "| | unit | %s | share / own disk | FUSE / 9P, both TCP |\n|---|---|%s\n", strings.Join(ways, " | "), strings.Repeat("---:|", len(ways)+2))
	for _, row := range shareRows {
		of := r.rates[row.name]
		fmt.Fprintf(&b, "| %s | %s ", row.name, row.unit)
		for _, w := range ways {
			fmt.Fprintf(&b, "| %s ", number(of[w].median(), 0))
		}
		fmt.Fprintf(&b, "| %s | %s |\n", number(of[onShare].median()/of[ownDisk].median(), 2), number(of[shareTCP].median()/of[plan9TCP].median(), 2))
	}
	b.WriteString("\n")
	for _, n := range r.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}
