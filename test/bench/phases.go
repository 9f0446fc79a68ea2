package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/test/harness"
)

// tracePod records what Porthole's calls for a pod spent their time on, as its daemon
// tells.
func tracePod(ctx context.Context, s *harness.Server, t *table, pod string) error {
	out, err := s.Porthole(ctx, "why-slow", "--config", s.ConfigPath, "--json", "bench/"+pod).Output()
	if err != nil {
		return fmt.Errorf("porthole why-slow: %w", err)
	}
	var h phase.History
	if err := json.Unmarshal(out, &h); err != nil {
		return fmt.Errorf("porthole why-slow: %w", err)
	}
	addPhases(t, h)
	return nil
}

// addPhases adds a row for each phase, named after where it is; of phases of one place in
// a call, the one that took longest counts.
func addPhases(t *table, h phase.History) {
	for _, c := range h.Calls {
		var order []string
		longest := map[string]time.Duration{}
		names := make([]string, len(c.Spans))
		note := func(name string, took time.Duration) {
			if _, ok := longest[name]; !ok {
				order = append(order, name)
			}
			longest[name] = max(longest[name], took)
		}
		note(c.Name, c.Took)
		for i, s := range c.Spans {
			under := c.Name
			if s.Parent != phase.Root {
				under = names[s.Parent]
			}
			names[i] = under + " / " + s.Name
			note(names[i], s.Took)
		}
		for _, name := range order {
			t.add(name, milliseconds, portholeName, float64(longest[name])/1e6)
		}
	}
}

// writePhases prints the medians, with parts below what they are a part of.
func (t *table) writePhases(w *strings.Builder) {
	fmt.Fprintln(w, "| phase | median ms | p95 ms |\n|---|--:|--:|")
	for _, r := range tree(t.rows) {
		parts := strings.Split(r.name, " / ")
		s := r.values[portholeName]
		fmt.Fprintf(w, "| %s%s | %s | %s |\n", strings.Repeat("&emsp;", len(parts)-1), parts[len(parts)-1],
			number(s.median(), 1), r.tail(s))
	}
}

// tree orders rows so that each stands before its parts, and parts stand together.
func tree(rows []*row) []*row {
	var out []*row
	var walk func(under string)
	walk = func(under string) {
		for _, r := range rows {
			rest, ok := strings.CutPrefix(r.name, under)
			if ok && rest != "" && !strings.Contains(rest, " / ") {
				out = append(out, r)
				walk(r.name + " / ")
			}
		}
	}
	walk("")
	return out
}
