package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// service is the wire side of a Server: it converts and calls.
type service struct{ s *Server }

var _ api.ShimService = service{}

func (s *Server) newRPC() (*ttrpc.Server, error) {
	rpc, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(s.intercept))
	if err != nil {
		return nil, err
	}
	api.RegisterShimService(rpc, service{s})
	return rpc, nil
}

// serveControl serves calls until ctx or the listener ends.
func (s *Server) serveControl(ctx context.Context, rpc *ttrpc.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	// Calls end with their connections, which outlast ctx until Close.
	err := rpc.Serve(context.WithoutCancel(ctx), s.conns.listener(l))
	if ctx.Err() != nil || errors.Is(err, ttrpc.ErrServerClosed) {
		return nil
	}
	return err
}

// intercept counts calls, so that Close can wait for them, and gives errors their codes.
func (s *Server) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	ctx, _ = phase.Record(ctx)
	s.calls.Add(1)
	defer s.calls.Done()
	resp, err := method(ctx, unmarshal)
	if err != nil {
		s.log.DebugContext(ctx, "call was answered with an error", logkey.Method, info.FullMethod, logkey.Error, err)
		return nil, toStatus(err)
	}
	return resp, nil
}

func (v service) Hello(_ context.Context, r *api.HelloRequest) (*api.HelloResponse, error) {
	version := min(r.GetMaxVersion(), api.MaxVersion)
	if version < r.GetMinVersion() || version < api.MinVersion {
		return nil, fmt.Errorf("shim %s speaks versions %d to %d of the shim protocol, the daemon %s versions %d to %d: %w",
			v.s.version, api.MinVersion, api.MaxVersion,
			r.GetClientVersion(), r.GetMinVersion(), r.GetMaxVersion(), errdefs.ErrFailedPrecondition)
	}
	i := v.s.Info()
	return &api.HelloResponse{
		Version:       version,
		ShimVersion:   i.Version,
		Pid:           int32(os.Getpid()),
		VmPid:         int32(i.VMPID),
		Accelerator:   i.Accelerator,
		KernelRelease: i.KernelRelease,
		AgentVersion:  i.AgentVersion,
		Template:      i.Template,
		TemplateError: i.TemplateError,
		Phases:        v.s.phases,
		Vcpus:         uint32(i.VCPUs),
		MemoryMib:     uint32(i.MemoryMiB),
	}, nil
}

func (v service) SetupPod(ctx context.Context, r *api.SetupPodRequest) (*api.SetupPodResponse, error) {
	do := v.s.SetupPod
	if r.GetBegin() {
		do = v.s.BeginPod
	}
	err := do(ctx, podFromWire(r))
	return &api.SetupPodResponse{Phases: phase.Encode(ctx)}, err
}

func (v service) RemovePod(ctx context.Context, r *api.RemovePodRequest) (*api.Empty, error) {
	return &api.Empty{}, v.s.RemovePod(ctx, r.GetPodId())
}

func (v service) CreateContainer(ctx context.Context, r *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
	c, err := v.s.CreateContainer(ctx, containerFromWire(r))
	if err != nil {
		return nil, err
	}
	return &api.CreateContainerResponse{
		Pid: int32(c.PID), Uid: c.User.UID, Gid: c.User.GID, AdditionalGids: c.User.AdditionalGIDs,
		Phases: phase.Encode(ctx),
	}, nil
}

func (v service) StartContainer(ctx context.Context, r *api.ContainerRequest) (*api.StartContainerResponse, error) {
	at, err := v.s.StartContainer(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &api.StartContainerResponse{StartedUnixNanos: at.UnixNano(), Phases: phase.Encode(ctx)}, nil
}

func (v service) Wait(ctx context.Context, r *api.ContainerRequest) (*api.Exit, error) {
	exit, err := v.s.Wait(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return exitToWire(exit), nil
}

func (v service) Signal(ctx context.Context, r *api.SignalRequest) (*api.Empty, error) {
	return &api.Empty{}, v.s.Signal(ctx, r.GetContainerId(), int(r.GetSignal()), r.GetAll())
}

func (v service) RemoveContainer(ctx context.Context, r *api.ContainerRequest) (*api.Empty, error) {
	return &api.Empty{}, v.s.RemoveContainer(ctx, r.GetContainerId())
}

func (v service) ReopenLog(ctx context.Context, r *api.ContainerRequest) (*api.Empty, error) {
	return &api.Empty{}, v.s.ReopenLog(ctx, r.GetContainerId())
}

func (v service) UpdateContainer(ctx context.Context, r *api.UpdateContainerRequest) (*api.Empty, error) {
	return &api.Empty{}, v.s.UpdateContainer(ctx, r.GetContainerId(), r.GetResources())
}

func (v service) State(context.Context, *api.Empty) (*api.StateResponse, error) {
	return stateToWire(v.s.State()), nil
}

func (v service) Stats(ctx context.Context, r *api.StatsRequest) (*api.StatsResponse, error) {
	vm, err := v.s.Stats(ctx, r.GetOpenFiles())
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(vm)
	if err != nil {
		return nil, fmt.Errorf("encode figures: %w", err)
	}
	return &api.StatsResponse{Usage: b}, nil
}

func (v service) Exec(ctx context.Context, r *api.ExecRequest) (*api.ExecResponse, error) {
	e, ctx, release, err := v.s.sessions.claim(ctx, r.GetSession(), stdioKinds(r.GetSession()))
	if err != nil {
		return nil, err
	}
	defer release()
	code, err := v.s.exec(ctx, e, r.GetContainerId(), sandbox.ExecSpec{Args: r.GetArgs(), Terminal: r.GetTerminal()})
	if err != nil {
		return nil, err
	}
	return &api.ExecResponse{ExitCode: int32(code)}, nil
}

func (v service) Attach(ctx context.Context, r *api.AttachRequest) (*api.Empty, error) {
	e, ctx, release, err := v.s.sessions.claim(ctx, r.GetSession(), stdioKinds(r.GetSession()))
	if err != nil {
		return nil, err
	}
	defer release()
	return &api.Empty{}, v.s.attach(ctx, e, r.GetContainerId())
}

func (v service) PortForward(ctx context.Context, r *api.PortForwardRequest) (*api.Empty, error) {
	e, ctx, release, err := v.s.sessions.claim(ctx, r.GetSession(), []api.StreamKind{api.StreamForward})
	if err != nil {
		return nil, err
	}
	defer release()
	return &api.Empty{}, v.s.forward(ctx, e, r.GetPodId(), r.GetPort())
}

func (v service) Resize(ctx context.Context, r *api.ResizeRequest) (*api.Empty, error) {
	if r.GetWidth() > 65535 || r.GetHeight() > 65535 {
		return nil, fmt.Errorf("terminal of %d by %d: %w", r.GetWidth(), r.GetHeight(), errdefs.ErrInvalidArgument)
	}
	e, err := v.s.sessions.find(ctx, r.GetSessionId())
	if err != nil {
		return nil, err
	}
	v.s.sessions.doResize(e, uint16(r.GetWidth()), uint16(r.GetHeight()))
	return &api.Empty{}, nil
}

func (v service) Cancel(ctx context.Context, r *api.CancelRequest) (*api.Empty, error) {
	e, err := v.s.sessions.find(ctx, r.GetSessionId())
	if err != nil {
		return nil, err
	}
	v.s.sessions.doCancel(e)
	return &api.Empty{}, nil
}

func (v service) Shutdown(context.Context, *api.Empty) (*api.Empty, error) {
	v.s.end()
	return &api.Empty{}, nil
}

func (v service) Checkpoint(ctx context.Context, r *api.CheckpointRequest) (*api.CheckpointResponse, error) {
	if n := r.GetTimeoutNanos(); n > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(n))
		defer cancel()
	}
	saved, err := v.s.Checkpoint(ctx, sandbox.CheckpointSetup{
		PodID: r.GetPodId(), ContainerIDs: r.GetContainerIds(), Dir: r.GetDir(),
	})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(saved)
	if err != nil {
		return nil, fmt.Errorf("encode saved pod: %w", err)
	}
	return &api.CheckpointResponse{Saved: b}, nil
}

func (v service) RestorePod(ctx context.Context, r *api.RestorePodRequest) (*api.RestorePodResponse, error) {
	var p sandbox.PodRestore
	if err := json.Unmarshal(r.GetRestore(), &p); err != nil {
		return nil, fmt.Errorf("decode pod to restore: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return &api.RestorePodResponse{}, v.s.RestorePod(ctx, p)
}

func stdioKinds(s *api.Session) []api.StreamKind {
	var out []api.StreamKind
	if s.GetStdin() {
		out = append(out, api.StreamStdin)
	}
	if s.GetStdout() {
		out = append(out, api.StreamStdout)
	}
	if s.GetStderr() {
		out = append(out, api.StreamStderr)
	}
	return out
}
