package writers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Account is a user or a group.
type Account struct {
	ID   string // a SID, else "uid N" or "gid N"
	Name string // empty: not known
	Wide bool   // it stands for more than a few people
}

func (a Account) String() string {
	if a.Name == "" {
		return a.ID
	}
	return a.Name + " (" + a.ID + ")"
}

// Role is what a path is to the folder that is looked at.
type Role int

// Of a folder above only matters who may put another in the place of what is in it.
const (
	Folder Role = iota
	Above
	File
)

// Writer is somebody who may change a path though he is not of the system.
type Writer struct {
	Account
	Path string
	Role Role
	Owns bool // as its owner, who may give himself what he has not
	Fix  string
}

// Look tells who may change what is in dir: the folder, its files, and the folders above it,
// by its own path and, where that has links, by the one it stands for. One that is missing is
// fs.ErrNotExist. It changes nothing.
func Look(dir string) ([]Writer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	roles := map[string]Role{}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	for _, start := range []string{dir, real} {
		for up := start; up != filepath.Dir(up); up = filepath.Dir(up) {
			roles[filepath.Dir(up)] = Above
		}
	}
	roles[dir], roles[real] = Folder, Folder
	for _, e := range entries {
		if !e.IsDir() { // nothing is run from folders below
			roles[filepath.Join(dir, e.Name())] = File
		}
	}
	var out []Writer
	for path, role := range roles {
		found, err := look(path, role)
		if role == File && errors.Is(err, fs.ErrNotExist) {
			continue // it is gone, or a link to nothing
		}
		if err != nil {
			return nil, fmt.Errorf("read access to %s: %w", path, err)
		}
		for _, w := range found {
			w.Path, w.Role = path, role
			w.Fix = fix(w)
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b Writer) int {
		if a.Role != b.Role {
			return int(a.Role - b.Role)
		}
		switch {
		case a.Path < b.Path:
			return -1
		case a.Path > b.Path:
			return 1
		}
		return 0
	})
	return out, nil
}
