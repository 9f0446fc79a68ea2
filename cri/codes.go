package cri

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/internal/diskfull"
)

// maxErrorText bounds an error's text: it may hold the tail of a guest's console.
const maxErrorText = 32 << 10

// codeOf maps an error to its gRPC code. This is the only place that does. Where an
// error holds several, the first that has a kind decides, as causes are written before
// what came of them. What has no kind is our fault: Internal.
func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if code, ok := kindCodes[errdefs.Resolve(err)]; ok {
		return code
	}
	if diskfull.Is(err) {
		return codes.ResourceExhausted
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return codes.Unimplemented
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return s.Code()
	}
	return codes.Internal
}

// kindCodes has all that docs/cri.md lists.
var kindCodes = map[error]codes.Code{
	context.DeadlineExceeded:      codes.DeadlineExceeded,
	context.Canceled:              codes.Canceled,
	errdefs.ErrInvalidArgument:    codes.InvalidArgument,
	errdefs.ErrNotFound:           codes.NotFound,
	errdefs.ErrAlreadyExists:      codes.AlreadyExists,
	errdefs.ErrPermissionDenied:   codes.PermissionDenied,
	errdefs.ErrUnauthenticated:    codes.Unauthenticated,
	errdefs.ErrResourceExhausted:  codes.ResourceExhausted,
	errdefs.ErrFailedPrecondition: codes.FailedPrecondition,
	errdefs.ErrConflict:           codes.FailedPrecondition,
	errdefs.ErrAborted:            codes.Aborted,
	errdefs.ErrOutOfRange:         codes.OutOfRange,
	errdefs.ErrNotImplemented:     codes.Unimplemented,
	errdefs.ErrUnavailable:        codes.Unavailable,
	errdefs.ErrDataLoss:           codes.DataLoss,
	errdefs.ErrInternal:           codes.Internal,
}

// toStatus turns an error into what goes over the wire: code and bounded, valid text.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codeOf(err), clean(err.Error(), maxErrorText))
}

// clean makes text that may come from a guest fit for a protobuf string. When it is
// longer than limit bytes, its middle goes: what failed is said first, the newest
// console lines last.
func clean(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	const gap = " […] "
	half := (limit - len(gap)) / 2
	return strings.ToValidUTF8(text[:half], "") + gap + strings.ToValidUTF8(text[len(text)-half:], "")
}
