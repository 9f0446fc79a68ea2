package image

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Ref is an image reference in full form.
type Ref struct {
	// Host is the registry as users write it, such as docker.io.
	Host string
	// Repository is host and path, without tag and digest.
	Repository string
	// Tag is empty when there is a digest.
	Tag string
	// Digest is empty when the image is named by tag.
	Digest digest.Digest
}

// ParseRef reads a reference the way Docker does: "busybox" is
// docker.io/library/busybox:latest. Where there is a digest, a tag says nothing and
// is dropped. Errors are InvalidArgument.
func ParseRef(s string) (Ref, error) {
	named, err := reference.ParseDockerRef(s)
	if err != nil {
		return Ref{}, fmt.Errorf("image reference %q: %w: %w", clip(s), errdefs.ErrInvalidArgument, err)
	}
	r := Ref{Host: reference.Domain(named), Repository: named.Name()}
	switch n := named.(type) {
	case reference.Digested:
		r.Digest = n.Digest()
	case reference.Tagged:
		r.Tag = n.Tag()
	}
	return r, nil
}

// String is the reference in full form.
func (r Ref) String() string {
	if r.Digest != "" {
		return r.Repository + "@" + r.Digest.String()
	}
	return r.Repository + ":" + r.Tag
}

// withDigest is how the image is called by the digest it was found to have.
func (r Ref) withDigest(d digest.Digest) string { return r.Repository + "@" + d.String() }

// minPrefix is the shortest part of an image's id that names it.
const minPrefix = 3

// idPrefix returns the hexadecimal digits of s when it may be an image id or the
// start of one.
func idPrefix(s string) (string, bool) {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) < minPrefix || len(s) > 64 {
		return "", false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return s, true
}

func clip(s string) string {
	if len(s) > 256 {
		return s[:256] + "..."
	}
	return s
}

// pinned tells whether one of the patterns names one of the names.
func pinned(patterns, names []string) bool {
	for _, p := range patterns {
		prefix, open := strings.CutSuffix(p, "*")
		full := p
		if !open {
			if r, err := ParseRef(p); err == nil {
				full = r.String()
			}
		}
		for _, n := range names {
			if n == full || open && strings.HasPrefix(n, prefix) {
				return true
			}
		}
	}
	return false
}
