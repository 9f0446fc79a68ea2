package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/phase/chart"
)

// runWhySlow shows what the running daemon has measured of one pod.
func runWhySlow(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "why-slow")
	path := configFlag(f)
	asJSON := f.Bool("json", false, "print JSON")
	page := f.String("html", "", "write one page that needs nothing else to `file`")
	rest, err := parse(f, args, 0, 1)
	if err != nil {
		return err
	}
	if *asJSON && *page != "" {
		return usagef("why-slow: --json and --html are two ways")
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	all, err := newAdminClient(adminEndpoint(c)).Phases(ctx)
	if err != nil {
		return err
	}
	name := ""
	if len(rest) == 1 {
		name = rest[0]
	}
	h, err := findHistory(all, name)
	if err != nil {
		return err
	}
	switch {
	case *asJSON:
		return json.NewEncoder(io.out).Encode(h)
	case *page != "":
		var b bytes.Buffer
		if err := chart.HTML(&b, h); err != nil {
			return err
		}
		return os.WriteFile(*page, b.Bytes(), 0o644)
	}
	return chart.Text(io.out, h)
}

// findHistory finds the pod that is named by its id or the begin of one, its uid, its
// name, or its namespace and name. Of pods of one name the newest is meant.
func findHistory(all []phase.History, name string) (phase.History, error) {
	for _, h := range all {
		p := h.Pod
		if name == "" || p.ID != "" && strings.HasPrefix(p.ID, name) ||
			name == p.UID || name == p.Name || name == p.Namespace+"/"+p.Name {
			return h, nil
		}
	}
	if name == "" {
		return phase.History{}, fmt.Errorf("the daemon has made no pod since it started")
	}
	return phase.History{}, fmt.Errorf("nothing is known of pod %q: the daemon tells of the last pods that it made since it started", name)
}
