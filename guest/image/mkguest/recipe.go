package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

//go:embed recipe/*.sh
var recipes embed.FS

// recipe is one script of recipe/ with its inputs.
type recipe struct {
	b      *builder
	name   string
	script string
	key    string
	env    []string
}

// recipe prepares a script. The result depends on the script, on the inputs
// (digests or texts) and on the compiler, and is kept under a key of these.
func (b *builder) recipe(ctx context.Context, name string, inputs ...string) (*recipe, error) {
	script, err := recipes.ReadFile("recipe/" + name + ".sh")
	if err != nil {
		return nil, err
	}
	gcc, err := command{args: []string{"gcc", "--version"}}.output(ctx)
	if err != nil {
		return nil, err
	}
	return &recipe{b: b, name: name, script: string(script), key: key(append([]string{string(script), gcc}, inputs...)...)}, nil
}

// build runs the script in the tree that prepare makes, and returns the
// folder with its results; both only if that is not in the cache. What the
// script prints is kept next to the cache's folders, for when it fails.
func (r *recipe) build(ctx context.Context, prepare func(ctx context.Context, work string) (src string, err error)) (string, error) {
	return r.b.cache.get(ctx, "build/"+r.name, r.key, func(ctx context.Context, work, out string) error {
		src, err := prepare(ctx, work)
		if err != nil {
			return err
		}
		logFile := filepath.Join(r.b.opts.cache, "log-"+r.name+".txt")
		log, err := os.Create(logFile)
		if err != nil {
			return err
		}
		defer log.Close()
		script := filepath.Join(work, r.name+".sh")
		if err := os.WriteFile(script, []byte(r.script), 0o644); err != nil {
			return err
		}
		c := command{dir: work, args: []string{"sh", script}, log: log,
			env: append([]string{"SRC=" + src, "OUT=" + out, "JOBS=" + strconv.Itoa(runtime.NumCPU())}, r.env...)}
		if err := c.run(ctx); err != nil {
			return fmt.Errorf("%w\nall that it printed: %s", err, logFile)
		}
		return os.Remove(logFile)
	})
}
