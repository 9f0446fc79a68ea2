package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	page := f.String("html", "", "write one page that needs nothing else to `file`; -: to standard output")
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
		if *page == "-" {
			_, err := io.out.Write(b.Bytes())
			return err
		}
		return os.WriteFile(*page, b.Bytes(), 0o644)
	}
	return chart.Text(io.out, h)
}

// findHistory finds the pod that is named by its id, its uid, its name, or its namespace and
// name; of several the newest. What is none of these is the begin of one pod's id.
func findHistory(all []phase.History, name string) (phase.History, error) {
	if name == "" {
		if len(all) == 0 {
			return phase.History{}, errors.New("the daemon has made no pod since it started")
		}
		return all[0], nil
	}
	var begun []phase.History
	for _, h := range all {
		p := h.Pod
		if name == p.ID || name == p.UID || name == p.Name || name == p.Namespace+"/"+p.Name {
			return h, nil
		}
		if strings.HasPrefix(p.ID, name) {
			begun = append(begun, h)
		}
	}
	switch len(begun) {
	case 0:
		return phase.History{}, fmt.Errorf("nothing is known of pod %q: the daemon tells of the last pods that it made since it started", name)
	case 1:
		return begun[0], nil
	}
	return phase.History{}, fmt.Errorf("the ids of %d pods begin with %q, give more of it", len(begun), name)
}
