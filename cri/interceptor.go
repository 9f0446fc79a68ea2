package cri

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
)

// intercept surrounds every call: ids into the context's logger, panics into Internal
// errors, errors into gRPC codes, one log line, one count.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (resp any, err error) {
	ctx = logkey.NewContext(ctx, s.opts.Logger)
	ctx = logkey.With(ctx, idAttrs(req)...)
	if in := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(in) == 1 {
		ctx = phase.WithTraceparent(ctx, in[0])
	}
	err = s.observe(ctx, info.FullMethod, func() (err error) {
		resp, err = h(ctx, req)
		return err
	}, func() []any { return idAttrs(resp) })
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// interceptStream is intercept for the calls that answer with a stream.
func (s *Server) interceptStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	ctx := logkey.NewContext(ss.Context(), s.opts.Logger)
	return s.observe(ctx, info.FullMethod, func() error { return h(srv, ss) }, func() []any { return nil })
}

// observe runs one call. attrs is asked for what only the answer tells.
func (s *Server) observe(ctx context.Context, fullMethod string, call func() error, attrs func() []any) error {
	method := path.Base(fullMethod)
	start := time.Now()
	err := guard(ctx, call)
	took := time.Since(start)
	code := codeOf(err)
	s.calls.observe(method, code, took)

	level := levelOf(method, code)
	log := logkey.Logger(ctx)
	if !log.Enabled(ctx, level) {
		return toStatus(err)
	}
	line := []any{logkey.Method, method, logkey.Code, code.String(), logkey.Duration, took}
	if err != nil {
		line = append(line, logkey.Error, clean(err.Error(), maxErrorText))
	} else {
		line = append(line, attrs()...)
	}
	log.Log(ctx, level, "cri call", line...)
	return toStatus(err)
}

// guard turns a panic into an Internal error and logs its stack.
func guard(ctx context.Context, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logkey.Logger(ctx).Error("panic in a cri call", logkey.Error, fmt.Sprint(p), logkey.Stack, string(debug.Stack()))
			err = fmt.Errorf("panic: %v: %w", p, errdefs.ErrInternal)
		}
	}()
	return call()
}

// levelOf is debug for what the kubelet asks every second and for what it is answered
// as a matter of course, info for what changes something, and louder for our failures.
func levelOf(method string, code codes.Code) slog.Level {
	switch code {
	case codes.OK:
		if reads(method) {
			return slog.LevelDebug
		}
		return slog.LevelInfo
	case codes.NotFound, codes.Unimplemented, codes.Canceled:
		if reads(method) {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case codes.Internal, codes.DataLoss:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// reads tells whether a method only looks. ExecSync is among them for its frequency:
// probes call it.
func reads(method string) bool {
	switch method {
	case "Version", "ImageFsInfo", "RuntimeConfig", "ExecSync", "ContainerStats", "PodSandboxStats", "GetContainerEvents":
		return true
	}
	return strings.HasPrefix(method, "List") || strings.HasPrefix(method, "Stream") || strings.HasSuffix(method, "Status")
}

// idAttrs are the log attributes of the ids and names that a request or answer carries.
func idAttrs(m any) []any {
	var attrs []any
	if m, ok := m.(interface{ GetPodSandboxId() string }); ok && m.GetPodSandboxId() != "" {
		attrs = append(attrs, logkey.PodID, clean(m.GetPodSandboxId(), maxID))
	}
	if m, ok := m.(interface{ GetContainerId() string }); ok && m.GetContainerId() != "" {
		attrs = append(attrs, logkey.ContainerID, clean(m.GetContainerId(), maxID))
	}
	if m, ok := m.(interface{ GetImageRef() string }); ok && m.GetImageRef() != "" {
		attrs = append(attrs, logkey.Digest, clean(m.GetImageRef(), maxImageRef))
	}
	if ref := imageOf(m); ref != "" {
		attrs = append(attrs, logkey.Image, clean(ref, maxImageRef))
	}
	return attrs
}
