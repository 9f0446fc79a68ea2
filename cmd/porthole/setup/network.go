package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/undo"
)

// placedFile tells, in the folder of data, what was placed outside of Porthole's own folders, for the
// removal: a line as sha256sum's, and the first folder that was made for it, empty if none was.
const placedFile = "placed.sha256"

// confNames are the ends of names that CNI reads.
var confNames = []string{".conflist", ".conf", ".json"}

// placeConf puts a CNI configuration where the daemon's configuration looks for it. One of that name
// that is there is somebody's, and stays.
func (s *Setup) placeConf(from, conf string, u *undo.Stack) error {
	if from == "" {
		return nil
	}
	if s.c.ConfDir == nil || !slices.Contains(confNames, strings.ToLower(filepath.Ext(from))) {
		return fmt.Errorf("place CNI configuration: the name of %s ends in none of %s", from, strings.Join(confNames, ", "))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("place CNI configuration: %w", err)
	}
	if !json.Valid(text) {
		return fmt.Errorf("place CNI configuration: %s is not JSON", from)
	}
	dir, err := s.c.ConfDir(conf)
	if err != nil {
		return fmt.Errorf("place CNI configuration: %w", err)
	}
	top := topMissing(dir)
	if err := makeFolder(dir, u); err != nil {
		return err
	}
	if top != "" && s.c.Protect != nil {
		// Whoever can write here chooses programs that SYSTEM runs, and below a drive's root all users can. A
		// folder that was there is as its owner has made it.
		if err := s.c.Protect(top); err != nil {
			return fmt.Errorf("protect %s: %w", top, err)
		}
	}
	path := filepath.Join(dir, filepath.Base(from))
	if _, err := os.Lstat(path); err == nil {
		s.c.Log.Info("a CNI configuration of this name is there, and stays", logkey.Path, path)
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("place CNI configuration: %w", err)
	}
	list := filepath.Join(s.c.DataDir, placedFile)
	u.Push("remove the CNI configuration", func(context.Context) error { return errors.Join(remove(path), remove(list)) })
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("place CNI configuration: %w", err)
	}
	sum, err := filesum.SHA256(path)
	if err != nil {
		return fmt.Errorf("place CNI configuration: %w", err)
	}
	if err := os.WriteFile(list, []byte(sum+"  "+path+"\n"+top+"\n"), 0o644); err != nil {
		return fmt.Errorf("note that %s was placed: %w", path, err)
	}
	return nil
}

// topMissing is the first of a folder and those above it that is not there; empty: all are.
func topMissing(dir string) (top string) {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return top
		}
		top = dir
	}
}

// removePlaced removes what was placed and has not been changed since.
func (s *Setup) removePlaced() error {
	text, err := os.ReadFile(filepath.Join(s.c.DataDir, placedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what was placed: %w", err)
	}
	line, top, whole := strings.Cut(string(text), "\n")
	sum, path, ok := strings.Cut(line, "  ")
	if !ok || !whole {
		return nil // cut short: it was taken back, or never placed
	}
	got, err := filesum.SHA256(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", path, err)
	case got != sum:
		s.c.Log.Info("the CNI configuration was changed, and stays", logkey.Path, path)
		return nil
	}
	if err := remove(path); err != nil {
		return fmt.Errorf("remove CNI configuration: %w", err)
	}
	if top = strings.TrimSuffix(top, "\n"); top != "" {
		for dir := filepath.Dir(path); inside(top, dir) && remove(dir) == nil; dir = filepath.Dir(dir) {
		} // as far as they are empty
	}
	return nil
}
