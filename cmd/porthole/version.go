package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is a semantic version; the build sets it from the file VERSION.
var version = "0.0.0-unknown"

// revision is that of the source, with a note when it had changes; the build sets it.
var revision string

// buildInfo says what this binary was built from.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // from a tree that was not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func build() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if revision != "" {
		b.Revision, b.Modified = strings.CutSuffix(revision, " with changes")
		return b
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	return b
}

func runVersion(_ context.Context, io stdio, args []string) error {
	f := flags(io, "version")
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	b := build()
	if *asJSON {
		return json.NewEncoder(io.out).Encode(b)
	}
	revision := b.Revision
	if revision == "" {
		revision = "unknown revision"
	} else if b.Modified {
		revision += " with changes"
	}
	_, err := fmt.Fprintf(io.out, "porthole %s (%s, %s, %s)\n", b.Version, revision, b.Go, b.Platform)
	return err
}
