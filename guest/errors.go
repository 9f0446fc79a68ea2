package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kinds gives the error kind of each gRPC code.
var kinds = map[codes.Code]error{
	codes.Canceled:           context.Canceled,
	codes.InvalidArgument:    errdefs.ErrInvalidArgument,
	codes.DeadlineExceeded:   context.DeadlineExceeded,
	codes.NotFound:           errdefs.ErrNotFound,
	codes.AlreadyExists:      errdefs.ErrAlreadyExists,
	codes.PermissionDenied:   errdefs.ErrPermissionDenied,
	codes.ResourceExhausted:  errdefs.ErrResourceExhausted,
	codes.FailedPrecondition: errdefs.ErrFailedPrecondition,
	codes.Aborted:            errdefs.ErrAborted,
	codes.OutOfRange:         errdefs.ErrOutOfRange,
	codes.Unimplemented:      errdefs.ErrNotImplemented,
	codes.Internal:           errdefs.ErrInternal,
	codes.Unavailable:        errdefs.ErrUnavailable,
	codes.DataLoss:           errdefs.ErrDataLoss,
	codes.Unauthenticated:    errdefs.ErrUnauthenticated,
}

// Error is an error that the guest answered with. It unwraps to its kind: one of
// errdefs' errors, or context's Canceled and DeadlineExceeded.
type Error struct {
	Text string // cleaned and bounded
	kind error
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the error's kind.
func (e *Error) Unwrap() error { return e.kind }

// fromWire turns what a ttrpc call returned into an error of a known kind.
func fromWire(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if s, ok := status.FromError(err); ok {
		kind := kinds[s.Code()]
		if kind == nil {
			kind = errdefs.ErrUnknown
		}
		text := clean(s.Message(), maxErrorText)
		if text == "" {
			text = kind.Error()
		}
		return &Error{Text: text, kind: kind}
	}
	if lost(err) {
		return fmt.Errorf("connection to the agent is lost: %w", errdefs.ErrUnavailable)
	}
	return fmt.Errorf("%s: %w", clean(err.Error(), maxErrorText), errdefs.ErrUnavailable)
}

func lost(err error) bool {
	return errors.Is(err, ttrpc.ErrClosed) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
