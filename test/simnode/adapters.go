package simnode

import (
	"context"
	"io"
	"time"

	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/streaming"
)

// rootFS is sandbox.Images over the image store.
type rootFS struct{ *image.Store }

var (
	_ sandbox.Images       = rootFS{}
	_ sandbox.ImageHolders = rootFS{}
)

func (r rootFS) Prepare(ctx context.Context, ref, containerID string) (sandbox.RootFS, error) {
	fs, err := r.Store.Prepare(ctx, ref, containerID)
	out := sandbox.RootFS{ImageID: fs.ImageID, Config: sandbox.ImageConfig{Cmd: fs.Config.Cmd}}
	for _, l := range fs.Layers {
		out.Layers = append(out.Layers, sandbox.Layer(l))
	}
	return out, err
}

// storeImages is cri.Images over the image store.
type storeImages struct{ *image.Store }

func (s storeImages) Pull(ctx context.Context, ref string, a cri.Auth) (string, error) {
	return s.Store.Pull(ctx, ref, image.Auth(a))
}

func (s storeImages) Image(ctx context.Context, ref string) (cri.Image, error) {
	img, err := s.Status(ctx, ref)
	return criImage(img), err
}

func (s storeImages) Images(ctx context.Context) ([]cri.Image, error) {
	all, err := s.List(ctx, "")
	var out []cri.Image
	for _, img := range all {
		out = append(out, criImage(img))
	}
	return out, err
}

func (s storeImages) FsInfo(ctx context.Context) (cri.FsInfo, error) {
	fs, err := s.Store.FsInfo(ctx)
	return cri.FsInfo{At: fs.Timestamp, Mountpoint: fs.Mountpoint, UsedBytes: fs.UsedBytes, UsedInodes: fs.InodesUsed}, err
}

func criImage(img image.Image) cri.Image {
	return cri.Image{ID: img.ID, Tags: img.RepoTags, Digests: img.RepoDigests, Bytes: uint64(img.Size)}
}

// disks is cri.Disks over the manager.
type disks struct{ m *sandbox.Manager }

func (d disks) DiskInfo(ctx context.Context) (cri.FsInfo, error) {
	u, err := d.m.ScratchUsage(ctx)
	return cri.FsInfo{At: time.Now(), Mountpoint: u.Dir, UsedBytes: u.Bytes, UsedInodes: uint64(u.Disks)}, err
}

// executor is streaming.Executor over the manager, without terminals.
type executor struct{ m *sandbox.Manager }

func (e executor) Exec(ctx context.Context, id string, cmd []string, s streaming.Streams) (int, error) {
	return e.m.Exec(ctx, id, sandbox.ExecSpec{Args: cmd}, sandbox.Streams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
}

func (e executor) Attach(ctx context.Context, id string, s streaming.Streams) error {
	return e.m.Attach(ctx, id, sandbox.Streams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
}

func (e executor) PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error {
	return e.m.PortForward(ctx, podID, port, conn)
}

// urls is cri.Streams over the streaming server.
type urls struct{ s *streaming.Server }

var _ cri.Streams = urls{}

func (u urls) ExecURL(_ context.Context, e cri.ExecURL) (string, error) {
	return u.s.ExecURL(streaming.Request{
		ContainerID: e.ContainerID, Cmd: e.Cmd, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr, TTY: e.TTY,
	})
}

func (u urls) AttachURL(_ context.Context, a cri.AttachURL) (string, error) {
	return u.s.AttachURL(streaming.Request{
		ContainerID: a.ContainerID, Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, TTY: a.TTY,
	})
}

func (u urls) PortForwardURL(_ context.Context, podID string, ports []uint16) (string, error) {
	list := make([]int32, len(ports))
	for i, p := range ports {
		list[i] = int32(p)
	}
	return u.s.PortForwardURL(podID, list)
}
