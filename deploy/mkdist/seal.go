package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/filesum"
)

// sumsFile lists the other files as sha256sum does; `porthole setup install` takes no release
// that differs from it.
const sumsFile = "SHA256SUMS"

// epoch is the time of all files in archives: 1980 is the first that a zip can have.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// seal lists the files of a folder in it, packs the folder, and writes the archive's own sum
// beside the archive.
func seal(dir, out string) (err error) {
	if dir == "" || out == "" {
		return errors.New("seal needs -dir and -out")
	}
	names, err := list(dir)
	if err != nil {
		return err
	}
	if err := writeSums(dir, names); err != nil {
		return err
	}
	names = append(names, sumsFile)
	slices.Sort(names)
	var pack func(io.Writer, string, []string) error
	switch {
	case strings.HasSuffix(out, ".zip"):
		pack = packZip
	case strings.HasSuffix(out, ".tar.gz"):
		pack = packTar
	default:
		return fmt.Errorf("%s is neither .zip nor .tar.gz", out)
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := errors.Join(pack(f, dir, names), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("pack %s: %w", out, err), os.Remove(out))
	}
	sum, err := filesum.SHA256(out)
	if err != nil {
		return err
	}
	return os.WriteFile(out+".sha256", []byte(sum+"  "+filepath.Base(out)+"\n"), 0o644)
}

// list are the regular files of a folder but the list of sums, with slashes, sorted.
func list(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", p)
		}
		rel, err := filepath.Rel(dir, p)
		if name := filepath.ToSlash(rel); name != sumsFile {
			names = append(names, name)
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

func writeSums(dir string, names []string) error {
	var b strings.Builder
	for _, name := range names {
		sum, err := filesum.SHA256(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		b.WriteString(sum + "  " + name + "\n")
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(b.String()), 0o644)
}

// mode is of a file in archives: programs are run.
func mode(name string) fs.FileMode {
	if base := path.Base(name); base == "porthole" || base == "porthole.exe" {
		return 0o755
	}
	return 0o644
}

func packZip(w io.Writer, dir string, names []string) error {
	z := zip.NewWriter(w)
	for _, name := range names {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: epoch}
		h.SetMode(mode(name))
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if err := copyFrom(f, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return z.Close()
}

// packTar puts all into one folder of the archive's, as is the custom there.
func packTar(w io.Writer, dir string, names []string) error {
	g, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(g)
	for _, name := range names {
		file := filepath.Join(dir, filepath.FromSlash(name))
		st, err := os.Stat(file)
		if err != nil {
			return err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(filepath.Base(dir), name), Size: st.Size(),
			Mode: int64(mode(name)), ModTime: epoch, Format: tar.FormatPAX,
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if err := copyFrom(t, file); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), g.Close())
}

func copyFrom(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
