package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image as callers see it.
type Image struct {
	ID          string   // the digest of its config
	RepoTags    []string // full references with a tag, in order
	RepoDigests []string // repository@digest
	Size        int64    // bytes on this node's disk
	UID         *int64   // the user of its processes when the image gives a number
	Username    string   // the user when it gives a name
	Annotations map[string]string
	Pinned      bool
	Config      RunConfig
	Created     time.Time // when it came to this node
}

// RunConfig is the part of an image's config that containers start from.
type RunConfig struct {
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        []string          `json:"env,omitempty"`
	User       string            `json:"user,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	StopSignal string            `json:"stopSignal,omitempty"`
	Volumes    []string          `json:"volumes,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

func runConfig(c ocispec.ImageConfig) RunConfig {
	return RunConfig{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, WorkingDir: c.WorkingDir,
		StopSignal: c.StopSignal, Volumes: slices.Sorted(maps.Keys(c.Volumes)), Labels: c.Labels,
	}
}

// Status returns the image that ref means: a reference, an id, or the start of an id
// that fits one image only. NotFound when there is none.
func (s *Store) Status(_ context.Context, ref string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil {
		return Image{}, err
	}
	return s.view(r), nil
}

// List returns all images, or with a filter the one that Status would, in order of id.
func (s *Store) List(_ context.Context, filter string) ([]Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if filter != "" {
		r, err := s.find(filter)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []Image{s.view(r)}, nil
	}
	var out []Image
	for _, r := range s.images {
		if !r.Removed {
			out = append(out, s.view(r))
		}
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// view makes what callers see. They may keep it. s.mu is held.
func (s *Store) view(r *record) Image {
	img := Image{
		ID: r.ID.String(), RepoTags: r.names(), RepoDigests: slices.Clone(r.Digests), Size: r.Size,
		Annotations: maps.Clone(r.Annotations), Config: r.Run, Created: r.Created,
		Pinned: pinned(s.cfg.Pinned, slices.Concat(r.names(), r.Digests)),
	}
	user, _, _ := strings.Cut(r.Run.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		img.UID = &uid
	} else {
		img.Username = user
	}
	return img
}

// FsInfo is how much of the disk images take.
type FsInfo struct {
	Mountpoint string // the store's folder
	UsedBytes  uint64
	InodesUsed uint64
	Timestamp  time.Time
}

// holdBytes is what a hold takes of a disk: it is shorter than a block. There is one for each
// container, so the store's own count is taken and the folder not read.
const holdBytes = 4096

// FsInfo measures the store's folder.
func (s *Store) FsInfo(ctx context.Context) (FsInfo, error) {
	s.mu.Lock()
	holds := uint64(len(s.holds))
	s.mu.Unlock()
	info := FsInfo{Mountpoint: s.root, InodesUsed: holds, UsedBytes: holds * holdBytes, Timestamp: time.Now()}
	err := filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var fi fs.FileInfo
		if err == nil {
			fi, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // files come and go meanwhile
		}
		if err != nil {
			return err
		}
		info.InodesUsed++
		info.UsedBytes += uint64(allocated(fi))
		if path == s.holdsDir {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return FsInfo{}, fmt.Errorf("measure image store: %w", err)
	}
	return info, nil
}
