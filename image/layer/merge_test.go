package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

func parts(tars ...[]byte) (out []Part) {
	for _, b := range tars {
		out = append(out, Part{Source: bytesSource(b), DiffID: digest.FromBytes(b)})
	}
	return out
}

// mergeTo merges into a new file, whose content it returns.
func mergeTo(t *testing.T, ctx context.Context, all []Part, opts MergeOptions) ([]byte, Result, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "m.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := Merge(ctx, all, f, opts)
	b, rerr := os.ReadFile(f.Name())
	if rerr != nil {
		t.Fatal(rerr)
	}
	return b, res, err
}

// TestMergedID holds what stores have on their disks: another id for the same layers is
// another file.
func TestMergedID(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	const want = "sha256:fdfe26861f645eded8a9b80afb723314c5aaa1185ecb1ad016dce2eb67e31dea"
	if got := MergedID([]digest.Digest{a, b}, false); got != want {
		t.Errorf("MergedID = %s, want %s", got, want)
	}
	seen := map[digest.Digest]bool{}
	for _, ids := range [][]digest.Digest{{a, b}, {b, a}, {a, b, b}, {a, a}} {
		for _, lowest := range []bool{false, true} {
			seen[MergedID(ids, lowest)] = true
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d ids, want 8", len(seen))
	}
}

func TestMergeResult(t *testing.T) {
	a, b := makeTar(t, folder("d", 0o755), file("d/x", "1"), symlink("l", "d")), makeTar(t, file("d/y", "2"), link("z", "d/y"))
	first, res, err := mergeTo(t, t.Context(), parts(a, b), MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := Result{DiffID: MergedID([]digest.Digest{digest.FromBytes(a), digest.FromBytes(b)}, false),
		TarBytes: int64(len(a) + len(b)), Size: int64(len(first)), Twice: true}
	if res != want || res.Size%512 != 0 {
		t.Errorf("Merge = %+v, want %+v", res, want)
	}
	if _, _, err := mergeTo(t, t.Context(), parts(a, gzipped(t, b)), MergeOptions{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Merge with the digest of what is packed = %v, want FailedPrecondition", err)
	}
	packed := parts(a, b)
	packed[1].Source = bytesSource(gzipped(t, b))
	if again, _, err := mergeTo(t, t.Context(), packed, MergeOptions{}); err != nil || !bytes.Equal(first, again) {
		t.Errorf("Merge of a packed layer: %v, or another file", err)
	}
}

func TestMergeBounds(t *testing.T) {
	small, large := makeTar(t, file("a", "1")), makeTar(t, file("b", strings.Repeat("x", 10_000)))
	size := int64(len(small) + len(large))
	tooMany := parts(small, large)
	tooMany[1].Source = manyFolders(mergedEntries + 1)
	wrong := parts(small, large)
	wrong[1].DiffID = digest.FromString("other")
	count := 0
	changes := parts(small, large)
	changes[0].Source = func(ctx context.Context) (io.ReadCloser, error) {
		if count++; count > 1 {
			return bytesSource(large)(ctx)
		}
		return bytesSource(small)(ctx)
	}
	for _, tt := range []struct {
		name  string
		parts []Part
		opts  MergeOptions
		is    func(error) bool // nil: no error
		says  string
	}{
		{"just-fits", parts(small, large), MergeOptions{MaxBytes: size}, nil, ""},
		{"a-byte-more", parts(small, large), MergeOptions{MaxBytes: size - 1}, errdefs.IsInvalidArgument, "layer 2 of 2"},
		{"first-too-long", parts(large, small), MergeOptions{MaxBytes: 5000}, errdefs.IsInvalidArgument, "layer 1 of 2"},
		{"nothing-left", parts(small, large), MergeOptions{MaxBytes: int64(len(small))}, errdefs.IsInvalidArgument, "layer 2 of 2"},
		{"zeros-after-the-end", parts(small, append(bytes.Clone(small), make([]byte, 1<<20)...)), MergeOptions{MaxBytes: 1 << 20},
			errdefs.IsInvalidArgument, "too long"},
		{"file-system", parts(small, large), MergeOptions{MaxSize: 8 << 10}, errdefs.IsInvalidArgument, "too large"},
		{"names", tooMany, MergeOptions{MaxBytes: 1 << 40}, errdefs.IsInvalidArgument, "too many"},
		{"digest", wrong, MergeOptions{}, errdefs.IsFailedPrecondition, "layer 2 of 2"},
		{"changes", changes, MergeOptions{}, errdefs.IsFailedPrecondition, "layer 1 of 2"},
		{"climbs", parts(small, makeTar(t, file("../x", ""))), MergeOptions{}, errdefs.IsInvalidArgument, `"../x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := mergeTo(t, t.Context(), tt.parts, tt.opts)
			if tt.is == nil && err != nil || tt.is != nil && (err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("Merge = %v, want another kind or %q in it", err, tt.says)
			}
		})
	}
}

// manyFolders is a tar of so many folders, made as it is read.
func manyFolders(n int) Source {
	return func(context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			tw := tar.NewWriter(w)
			for i := range n {
				if tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(i), Mode: 0o755}) != nil {
					return
				}
			}
			w.CloseWithError(tw.Close())
		}()
		return r, nil
	}
}

func TestMergeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	whole := makeTar(t, file("a", strings.Repeat("x", 1<<16)))
	half := func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(whole[:512]), cancelReader{func() { cancel(stop) }})), nil
	}
	all := []Part{parts(whole)[0], {Source: half, DiffID: digest.FromBytes(whole)}}
	if _, _, err := mergeTo(t, ctx, all, MergeOptions{}); !errors.Is(err, stop) {
		t.Errorf("Merge = %v, want %v", err, stop)
	}
}
