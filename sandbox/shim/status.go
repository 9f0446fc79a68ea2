package shim

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/internal/diskfull"
)

// kinds pairs error kinds with their codes on the wire.
var kinds = []struct {
	kind error
	code codes.Code
}{
	{errdefs.ErrNotFound, codes.NotFound},
	{errdefs.ErrAlreadyExists, codes.AlreadyExists},
	{errdefs.ErrInvalidArgument, codes.InvalidArgument},
	{errdefs.ErrFailedPrecondition, codes.FailedPrecondition},
	{errdefs.ErrUnavailable, codes.Unavailable},
	{errdefs.ErrNotImplemented, codes.Unimplemented},
	{errdefs.ErrResourceExhausted, codes.ResourceExhausted},
	{errdefs.ErrPermissionDenied, codes.PermissionDenied},
	{errdefs.ErrOutOfRange, codes.OutOfRange},
	{errdefs.ErrDataLoss, codes.DataLoss},
	{errdefs.ErrAborted, codes.Aborted},
	{errdefs.ErrInternal, codes.Internal},
	{errdefs.ErrUnknown, codes.Unknown},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// toStatus gives an error the code of its kind: the first, where it holds several.
func toStatus(err error) error {
	code, kind := codes.Unknown, errdefs.Resolve(err)
	for _, k := range kinds {
		if k.kind == kind {
			code = k.code
			break
		}
	}
	if code == codes.Unknown && diskfull.Is(err) {
		code = codes.ResourceExhausted // the error number does not go over the wire
	}
	return status.Error(code, cut(err.Error(), maxErrorText))
}

// remoteError is an error that the shim answered with. It unwraps to its kind.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// fromStatus is the other end of toStatus.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, ttrpc.ErrClosed) {
			return fmt.Errorf("connection to shim is closed: %w", errdefs.ErrUnavailable)
		}
		return fmt.Errorf("call shim: %w: %w", err, errdefs.ErrUnavailable)
	}
	var kind error = errdefs.ErrUnknown
	for _, k := range kinds {
		if k.code == s.Code() {
			kind = k.kind
		}
	}
	return &remoteError{text: s.Message(), kind: kind}
}
