package logkey

import (
	"context"
	"log/slog"
)

// The keys of attributes. A new one is added here, not spelled out where it is used.
const (
	// PodID is the id of a pod sandbox.
	PodID = "pod_id"
	// PodUID is the uid that the cluster gave a pod.
	PodUID = "pod_uid"
	// ContainerID is the id of a container.
	ContainerID = "container_id"
	// VMID is the id of a utility VM, where it is not the pod's.
	VMID = "vm_id"
	// PID is the id of a host process.
	PID = "pid"
	// Image is an image's reference or id as the caller wrote it.
	Image = "image"
	// Digest is the digest of a blob.
	Digest = "digest"
	// Method is the name of a CRI call without its service: RunPodSandbox.
	Method = "method"
	// Code is the gRPC code of a call's answer.
	Code = "code"
	// Duration is how long a thing took.
	Duration = "duration"
	// Error is an error's text.
	Error = "error"
	// Accelerator is kvm or tcg.
	Accelerator = "accelerator"
	// Reason says why, in words.
	Reason = "reason"
	// Path is a path on the host.
	Path = "path"
	// Address is a network address or the path of a socket.
	Address = "address"
	// Version is the version of a program.
	Version = "version"
	// Bytes is a number of bytes.
	Bytes = "bytes"
	// ExitCode is the exit code of a process.
	ExitCode = "exit_code"
	// Stack is a goroutine's stack.
	Stack = "stack"
	// Count is a number of things.
	Count = "count"
)

type contextKey struct{}

// NewContext returns a context whose Logger is l.
func NewContext(ctx context.Context, l *slog.Logger) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// Logger returns the logger that the context carries, else slog.Default.
func Logger(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(contextKey{}).(*slog.Logger); ok {
		return l
	}
	return slog.Default()
}

// With returns a context whose Logger adds the attributes; args are as for slog.Logger.With.
func With(ctx context.Context, args ...any) context.Context {
	return NewContext(ctx, Logger(ctx).With(args...))
}
