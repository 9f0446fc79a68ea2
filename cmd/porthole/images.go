package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/internal/account"
	"github.com/porthole-run/porthole/sandbox"
)

func imageRoot(c config.Config) string { return imagesDir(c) }

func imagesDir(c config.Config) string { return filepath.Join(c.Root, "images") }

// openStore opens the image store below the configuration's root.
func openStore(c config.Config, log *slog.Logger, m *image.Metrics) (*image.Store, error) {
	return image.Open(image.Config{
		Root:              imageRoot(c),
		RegistryConfigDir: c.Images.RegistryConfigDir,
		DockerConfigPath:  c.Images.DockerConfig,
		Pinned:            c.Images.Pinned,
		MaxDownloads:      int(c.Images.MaxDownloads),
		MaxConversions:    int(c.Images.MaxConversions),
		ProgressTimeout:   time.Duration(c.Images.StallTimeout),
		MaxLayerSize:      int64(c.Images.MaxLayerSize),
		DiscardBlobs:      c.Images.DiscardBlobs,
		UserAgent:         "porthole/" + version,
		Logger:            log,
		Metrics:           m,
	})
}

// rootFS is sandbox.Images over image.Store.
type rootFS struct{ s *image.Store }

var (
	_ sandbox.Images       = rootFS{}
	_ sandbox.ImageHolders = rootFS{}
	_ sandbox.ImageUsers   = rootFS{}
)

func (r rootFS) Prepare(ctx context.Context, ref, containerID string) (sandbox.RootFS, error) {
	fs, err := r.s.Prepare(ctx, ref, containerID)
	if err != nil {
		return sandbox.RootFS{}, err
	}
	out := sandbox.RootFS{ImageID: fs.ImageID, Config: sandbox.ImageConfig{
		Entrypoint: fs.Config.Entrypoint, Cmd: fs.Config.Cmd, Env: fs.Config.Env, User: fs.Config.User,
		WorkingDir: fs.Config.WorkingDir, StopSignal: fs.Config.StopSignal, Volumes: fs.Config.Volumes,
	}}
	for _, l := range fs.Layers {
		out.Layers = append(out.Layers, sandbox.Layer(l))
	}
	return out, nil
}

// FindUser implements sandbox.ImageUsers.
func (r rootFS) FindUser(ctx context.Context, root sandbox.RootFS, u sandbox.User) (found sandbox.FoundUser, ok bool) {
	fs := image.RootFS{ImageID: root.ImageID}
	for _, l := range root.Layers {
		fs.Layers = append(fs.Layers, image.Layer(l))
	}
	files, ok := r.s.Accounts(ctx, fs)
	if !ok {
		return found, false
	}
	req := account.Request{Spec: u.Spec, Groups: u.SupplementalGroups, Strict: u.StrictGroups}
	if u.HasGID {
		req.GID = &u.GID
	}
	id, err := files.Resolve(req)
	if err != nil {
		return found, false // the guest comes to the same, and says so
	}
	return sandbox.FoundUser{UID: id.UID, GID: id.GID, Groups: id.Groups, Home: id.Home}, true
}

// Holders implements sandbox.ImageHolders.
func (r rootFS) Holders() []string { return r.s.Holders() }

func (r rootFS) Release(ctx context.Context, containerID string) error {
	return r.s.Release(ctx, containerID)
}

// criImages is cri.Images over image.Store.
type criImages struct{ s *image.Store }

var _ cri.Images = criImages{}

func (i criImages) Pull(ctx context.Context, ref string, auth cri.Auth) (string, error) {
	return i.s.Pull(ctx, ref, image.Auth(auth))
}

func (i criImages) Image(ctx context.Context, ref string) (cri.Image, error) {
	img, err := i.s.Status(ctx, ref)
	if err != nil {
		return cri.Image{}, err
	}
	return criImage(img)
}

func (i criImages) Images(ctx context.Context) ([]cri.Image, error) {
	all, err := i.s.List(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make([]cri.Image, 0, len(all))
	for _, img := range all {
		c, err := criImage(img)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (i criImages) Remove(ctx context.Context, ref string) error { return i.s.Remove(ctx, ref) }

func (i criImages) FsInfo(ctx context.Context) (cri.FsInfo, error) {
	fs, err := i.s.FsInfo(ctx)
	if err != nil {
		return cri.FsInfo{}, err
	}
	return cri.FsInfo{At: fs.Timestamp, Mountpoint: fs.Mountpoint, UsedBytes: fs.UsedBytes, UsedInodes: fs.InodesUsed}, nil
}

// criDisks is cri.Disks over sandbox.Manager.
type criDisks struct {
	m      *sandbox.Manager
	images string // the folder that the image store names as its mount point
}

var _ cri.Disks = criDisks{}

func (d criDisks) DiskInfo(ctx context.Context) (cri.FsInfo, error) {
	u, err := d.m.ScratchUsage(ctx)
	if err != nil {
		return cri.FsInfo{}, err
	}
	info := cri.FsInfo{At: time.Now(), Mountpoint: u.Dir, UsedBytes: u.Bytes, UsedInodes: uint64(u.Disks)}
	same, err := sameFileSystem(u.Dir, d.images)
	if err != nil {
		return cri.FsInfo{}, err
	}
	if same {
		// The kubelet takes two names for two file systems.
		info.Mountpoint = d.images
	}
	return info, nil
}

func criImage(img image.Image) (cri.Image, error) {
	conf, err := json.Marshal(img.Config)
	if err != nil {
		return cri.Image{}, err
	}
	return cri.Image{
		ID: img.ID, Tags: img.RepoTags, Digests: img.RepoDigests, Bytes: uint64(max(img.Size, 0)),
		User: img.Config.User, Pinned: img.Pinned, Config: conf,
	}, nil
}
