package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/image"
)

// imageStore is what the image commands need: the running daemon's store, through its
// socket, or the store itself when no daemon runs.
type imageStore interface {
	imageReader
	Import(ctx context.Context, r io.Reader) (ids []string, err error)
	ImportPath(ctx context.Context, path string) (ids []string, err error)
}

// imageReader is what the image commands that change nothing need.
type imageReader interface {
	Export(ctx context.Context, refs []string, w io.Writer) error
	List(ctx context.Context, filter string) ([]image.Image, error)
}

var (
	_ imageStore = (*image.Store)(nil)
	_ imageStore = (*adminClient)(nil)
)

// noImages is the store of a machine that has none yet.
type noImages struct{}

func (noImages) List(context.Context, string) ([]image.Image, error) { return nil, nil }

func (noImages) Export(_ context.Context, refs []string, _ io.Writer) error {
	return fmt.Errorf("export: image %q: %w", refs[0], errdefs.ErrNotFound)
}

// readImages calls f with the store of the configuration at path. It makes none where
// there is none.
func readImages(ctx context.Context, io stdio, path string, f func(imageReader) error) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(imageRoot(c)); errors.Is(err, fs.ErrNotExist) {
		return f(noImages{})
	}
	return withImages(ctx, io, c, func(s imageStore) error { return f(s) })
}

// withImages calls f with the store of a configuration, which is made when it is missing.
func withImages(ctx context.Context, io stdio, c config.Config, f func(imageStore) error) error {
	if e := adminEndpoint(c); answers(ctx, e) == nil {
		return f(newAdminClient(e))
	}
	quietLibraries()
	log := slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := openStore(c, log, nil)
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

func runImageImport(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "image import")
	path := configFlag(f)
	rest, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	return withImages(ctx, io, c, func(s imageStore) error {
		ids, err := importFrom(ctx, s, rest[0])
		for _, id := range ids {
			if _, perr := fmt.Fprintln(io.out, id); perr != nil && err == nil {
				err = perr
			}
		}
		return err
	})
}

func importFrom(ctx context.Context, s imageStore, archive string) ([]string, error) {
	if archive == "-" {
		return s.Import(ctx, os.Stdin)
	}
	archive, err := filepath.Abs(archive) // the daemon has another working folder
	if err != nil {
		return nil, err
	}
	return s.ImportPath(ctx, archive)
}

func runImageExport(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "image export")
	path := configFlag(f)
	rest, err := parse(f, args, 2, 1024)
	if err != nil {
		return err
	}
	return readImages(ctx, io, *path, func(s imageReader) error {
		if rest[0] == "-" {
			return s.Export(ctx, rest[1:], io.out)
		}
		return exportTo(ctx, s, rest[0], rest[1:])
	})
}

// exportTo writes beside the file and renames, so that a cut-short export leaves none.
func exportTo(ctx context.Context, s imageReader, name string, refs []string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	err = s.Export(ctx, refs, tmp)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func runImageList(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "image list")
	path := configFlag(f)
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	return readImages(ctx, io, *path, func(s imageReader) error {
		all, err := s.List(ctx, "")
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(io.out).Encode(listed(all))
		}
		w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tMB\tPINNED\tNAMES")
		for _, img := range all {
			names := strings.Join(img.RepoTags, " ")
			if names == "" {
				names = strings.Join(img.RepoDigests, " ")
			}
			fmt.Fprintf(w, "%.19s\t%.1f\t%t\t%s\n", img.ID, float64(img.Size)/1e6, img.Pinned, names)
		}
		return w.Flush()
	})
}

// listedImage is one image in the answer of `image list --json`.
type listedImage struct {
	ID      string   `json:"id"`
	Tags    []string `json:"tags"`
	Digests []string `json:"digests"`
	Bytes   int64    `json:"bytes"`
	Pinned  bool     `json:"pinned"`
}

// listed makes lists that are empty in JSON rather than null.
func listed(all []image.Image) []listedImage {
	out := make([]listedImage, 0, len(all))
	for _, img := range all {
		out = append(out, listedImage{
			ID: img.ID, Bytes: img.Size, Pinned: img.Pinned,
			Tags:    append([]string{}, img.RepoTags...),
			Digests: append([]string{}, img.RepoDigests...),
		})
	}
	return out
}
