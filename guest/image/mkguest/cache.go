package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// cache keeps folders by a key that stands for all that they are made from.
// A folder appears whole, by rename, and is never changed after.
type cache struct {
	dir string
	tmp string // this run's, gone after close
	log *console
}

// staleAfter is the age at which another run's temporary folder is taken for
// left over; no build takes as long.
const staleAfter = 24 * time.Hour

func openCache(dir string, log *console) (*cache, error) {
	parent := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	old, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	for _, d := range old {
		if st, err := d.Info(); err == nil && time.Since(st.ModTime()) > staleAfter {
			if err := os.RemoveAll(filepath.Join(parent, d.Name())); err != nil {
				return nil, fmt.Errorf("clean cache: %w", err)
			}
		}
	}
	tmp, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return &cache{dir: dir, tmp: tmp, log: log}, nil
}

// close removes what the run did not finish.
func (c *cache) close() {
	if err := os.RemoveAll(c.tmp); err != nil {
		c.log.warn("remove %s: %v", c.tmp, err)
	}
}

// key makes the key for a list of inputs.
func key(inputs ...string) string {
	h := sha256.New()
	for _, s := range inputs {
		fmt.Fprintf(h, "%d:%s\n", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// get returns the folder of the given name and key, made by build if it is
// not there yet. build gets a folder for its work and an empty one whose
// content becomes the result; it runs as a step of its own on the console.
func (c *cache) get(ctx context.Context, name, key string, build func(ctx context.Context, work, out string) error) (string, error) {
	final := filepath.Join(c.dir, name+"-"+key[:24])
	if _, err := os.Stat(final); err == nil {
		return final, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	err := c.log.step(name, func() error {
		work, err := os.MkdirTemp(c.tmp, "work-")
		if err != nil {
			return err
		}
		out := filepath.Join(work, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			return err
		}
		if err := build(ctx, work, out); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
			return err
		}
		if err := os.Rename(out, final); err != nil {
			// Another run may have been faster; its result is as good.
			if _, there := os.Stat(final); there != nil {
				return err
			}
		}
		return os.RemoveAll(work)
	})
	return final, err
}

func digestOfBytes(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
