package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/diskfull"
)

// RegistryError is what a registry answered, or why there was no answer. It is of the
// errdefs kind that fits: NotFound, PermissionDenied or Unavailable.
type RegistryError struct {
	Ref     string // what was asked for
	URL     string // without user, password and query; empty when unknown
	Status  int    // of HTTP; zero when there was no answer
	Code    string // of the registry, such as MANIFEST_UNKNOWN
	Message string

	kind  error
	cause error
}

func (e *RegistryError) Error() string {
	s := "registry"
	if e.URL != "" {
		s += " " + e.URL
	}
	if e.Status != 0 {
		s += fmt.Sprintf(": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return fmt.Sprintf("%s: %s: %v", e.Ref, s, e.kind)
}

// Unwrap returns the error's kind and its cause.
func (e *RegistryError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// errStalled is the cause of a request that was ended for lack of progress.
var errStalled = errors.New("no byte came within the progress timeout (images.stall_timeout)")

// registryError gives an error of a pull its kind. It prints nothing of the original
// that may hold credentials: redirects to blob storage carry them in their query.
func registryError(ctx context.Context, ref Ref, host string, err error) error {
	switch {
	case err == nil:
		return nil
	case diskfull.Is(err):
		return fmt.Errorf("%s: %w: %w", ref, errdefs.ErrResourceExhausted, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", ref, context.Cause(ctx))
	}
	if size, ok := rejectedManifest(err); ok {
		return fmt.Errorf("%s: manifest of %d bytes is too large, %d are taken at most: %w", ref, size, docker.MaxManifestSize, errdefs.ErrInvalidArgument)
	}
	e := &RegistryError{Ref: ref.String(), URL: host, cause: opaque{err}}
	var status remoteerrors.ErrUnexpectedStatus
	var uerr *url.Error
	switch {
	case errors.As(err, &status):
		e.Status, e.URL = status.StatusCode, redactURL(status.RequestURL)
		e.Code, e.Message = registryCode(status.Body)
		e.kind = statusKind(status.StatusCode)
	case errors.Is(err, docker.ErrInvalidAuthorization):
		e.kind, e.Message = errdefs.ErrPermissionDenied, "it denies access: the image does not exist or needs other credentials"
	case errdefs.IsNotFound(err):
		e.kind, e.Message = errdefs.ErrNotFound, "no such image or blob"
	case errors.Is(err, errStalled):
		e.kind, e.Message = errdefs.ErrUnavailable, errStalled.Error()
	case errors.As(err, &uerr):
		e.kind, e.URL, e.Message = errdefs.ErrUnavailable, redactURL(uerr.URL), uerr.Err.Error()
		if inner := (*url.Error)(nil); errors.As(uerr.Err, &inner) {
			e.Message = inner.Err.Error() // as a proxy or a redirect gives
		}
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsDataLoss(err), errdefs.IsNotImplemented(err):
		return fmt.Errorf("%s: %w", ref, err)
	default:
		e.kind, e.Message = errdefs.ErrUnavailable, err.Error()
	}
	return e
}

// rejectedManifest tells a manifest that containerd finds too large to resolve, and its size.
// It calls it not found, as it does what is not there, so that only the text tells them apart.
func rejectedManifest(err error) (size int64, ok bool) {
	_, text, _ := strings.Cut(err.Error(), "rejecting ")
	n, _ := fmt.Sscanf(text, "%d byte manifest for ", &size)
	return size, n == 1 && errdefs.IsNotFound(err)
}

// opaque keeps an error for errors.Is and As without its kind, which may differ.
type opaque struct{ err error }

func (o opaque) Error() string        { return o.err.Error() }
func (o opaque) As(target any) bool   { return errors.As(o.err, target) }
func (o opaque) Is(target error) bool { return target == errStalled && errors.Is(o.err, target) }

func statusKind(status int) error {
	switch {
	case status == http.StatusNotFound:
		return errdefs.ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrFailedPrecondition
}

// registryCode reads the error document of the distribution API.
func registryCode(body []byte) (code, message string) {
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &doc) != nil || len(doc.Errors) == 0 {
		return "", ""
	}
	return clip(doc.Errors[0].Code), clip(doc.Errors[0].Message)
}

// redactURL drops user, password, query and fragment.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// transient tells whether asking again may help.
func transient(err error) bool {
	var status remoteerrors.ErrUnexpectedStatus
	switch {
	case errors.As(err, &status):
		return errdefs.IsUnavailable(statusKind(status.StatusCode))
	case errors.Is(err, docker.ErrInvalidAuthorization), errors.Is(err, errStalled), diskfull.Is(err),
		errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err), errdefs.IsDataLoss(err):
		return false
	}
	return true
}
