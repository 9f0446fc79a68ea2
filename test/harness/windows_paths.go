package harness

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// translate is a client's interceptor that names this machine's files as the host does, in
// requests, and the other way round in answers: tests speak of this machine's.
func (w *Windows) translate(ctx context.Context, method string, q, a any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	switch r := q.(type) {
	case *cri.RunPodSandboxRequest:
		r = proto.CloneOf(r)
		w.pod(r.Config)
		q = r
	case *cri.CreateContainerRequest:
		r = proto.CloneOf(r)
		w.pod(r.SandboxConfig)
		for _, m := range r.GetConfig().GetMounts() {
			m.HostPath = w.host(m.HostPath)
		}
		if p := r.GetConfig().GetLinux().GetSecurityContext().GetSeccomp(); p.GetLocalhostRef() != "" {
			p.LocalhostRef = w.host(p.LocalhostRef)
		}
		q = r
	}
	if err := call(ctx, method, q, a, cc, opts...); err != nil {
		return err
	}
	switch r := a.(type) {
	case *cri.ContainerStatusResponse:
		if s := r.Status; s != nil {
			s.LogPath = w.here(s.LogPath)
			for _, m := range s.Mounts {
				m.HostPath = w.here(m.HostPath)
			}
		}
	case *cri.ContainerStatsResponse:
		if id := r.GetStats().GetWritableLayer().GetFsId(); id != nil {
			id.Mountpoint = w.here(id.Mountpoint)
		}
	case *cri.ImageFsInfoResponse:
		for _, f := range append(r.ImageFilesystems, r.ContainerFilesystems...) {
			f.FsId.Mountpoint = w.here(f.GetFsId().GetMountpoint())
		}
	}
	return nil
}

func (w *Windows) pod(c *cri.PodSandboxConfig) {
	if c != nil {
		c.LogDirectory = w.host(c.LogDirectory)
	}
}

// host is a path of this machine as the host has it; what is none stays.
func (w *Windows) host(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	return w.Path(path)
}

// here undoes host.
func (w *Windows) here(path string) string {
	rest, ok := strings.CutPrefix(path, w.Path("/"))
	if !ok {
		return path
	}
	return "/" + strings.ReplaceAll(rest, `\`, "/")
}
