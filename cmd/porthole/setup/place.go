package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/undo"
)

// Verify compares the files of a release's folder with its list of sums: each that is listed is there and
// as listed, and none is there besides.
func Verify(dir string) error {
	listed, err := readSums(filepath.Join(dir, sums))
	if err != nil {
		return fmt.Errorf("verify release: %w", err)
	}
	for name, want := range listed {
		got, err := filesum.SHA256(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("verify release: %w", err)
		}
		if got != want {
			return fmt.Errorf("verify release: %s is not what %s lists", name, sums)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if name != sums && listed[name] == "" && !strings.HasSuffix(name, ".asc") && !strings.HasSuffix(name, ".p7") {
			return fmt.Errorf("%s is not in %s", name, sums)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify release: %w", err)
	}
	if listed[Program] == "" {
		return fmt.Errorf("verify release: %s has no %s", sums, Program)
	}
	return nil
}

// maxSums bounds the list.
const maxSums = 1 << 20

// readSums reads lines as sha256sum writes them, by file with slashes.
func readSums(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(f, maxSums))
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || len(sum) != 64 || !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, `\`) {
			return nil, fmt.Errorf("%s: %q is no line of sha256sum's", path, lines.Text())
		}
		out[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return out, nil
}

// place copies a release to a version's folder, which is there whole or not at all. One that is
// there and whole stays as it is.
func (s *Setup) place(ctx context.Context, from, dir string, u *undo.Stack) error {
	if _, err := os.Stat(dir); err == nil {
		if err := Verify(dir); err != nil {
			return fmt.Errorf("%s is there, and damaged: %w", dir, err)
		}
		return same(filepath.Join(from, sums), filepath.Join(dir, sums))
	}
	if err := makeFolder(filepath.Dir(dir), u); err != nil {
		return err
	}
	part := dir + partial
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("remove what an earlier setup left: %w", err)
	}
	u.Push("remove the version", func(context.Context) error { return errors.Join(os.RemoveAll(part), os.RemoveAll(dir)) })
	if err := copyFolder(ctx, from, part); err != nil {
		return err
	}
	if err := Verify(part); err != nil {
		return fmt.Errorf("what was copied is not whole: %w", err)
	}
	if err := os.Rename(part, dir); err != nil {
		return fmt.Errorf("place the version: %w", err)
	}
	return nil
}

// same refuses two builds of one version: shims run from what is there.
func same(a, b string) error {
	x, err := filesum.SHA256(a)
	if err != nil {
		return err
	}
	y, err := filesum.SHA256(b)
	if err != nil {
		return err
	}
	if x != y {
		return fmt.Errorf("another build of this version is installed: uninstall it, or build with another VERSION")
	}
	return nil
}

func copyFolder(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Sync()
}

// prune removes the versions but for these. What shims run from cannot be removed, and is tried again
// at the next installation.
func (s *Setup) prune(keep ...string) {
	all, err := filepath.Glob(filepath.Join(s.c.InstallDir, versions, "*"))
	if err != nil {
		return // the pattern is ours
	}
	for _, dir := range all {
		kept := false
		for _, k := range keep {
			kept = kept || strings.EqualFold(dir, k)
		}
		if kept {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			s.c.Log.Warn("an earlier version is not all removed: its shims run on", logkey.Path, dir, logkey.Error, err)
		}
	}
}
