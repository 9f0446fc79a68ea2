package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
)

func TestFaults(t *testing.T) {
	r, err := Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	img, err := random.Image(10_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Push(t.Context(), "app", "v1", img); err != nil {
		t.Fatal(err)
	}
	layers, _ := img.Layers()
	d, _ := layers[0].Digest()
	size, _ := layers[0].Size()
	path := "/v2/app/blobs/" + d.String()
	get := func(ctx context.Context, rng string) (int, []byte, error) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+path, nil)
		if rng != "" {
			req.Header.Set("Range", rng)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, b, err
	}
	_, whole, err := get(t.Context(), "")
	if err != nil || int64(len(whole)) != size {
		t.Fatalf("whole blob: %d bytes, %v; want %d", len(whole), err, size)
	}
	if code, part, err := get(t.Context(), "bytes=100-"); code != http.StatusPartialContent || int64(len(part)) != size-100 || err != nil {
		t.Errorf("range: %d, %d bytes, %v", code, len(part), err)
	}
	r.Inject(Fault{Path: path, Status: 418, Times: 1})
	r.Inject(Fault{Path: path, Corrupt: true, Times: 1})
	r.Inject(Fault{Path: path, CutAfter: 10, Times: 1})
	r.Inject(Fault{Path: path, Stall: true, Times: 1})
	if code, _, _ := get(t.Context(), ""); code != 418 {
		t.Errorf("status = %d, want 418", code)
	}
	if _, b, err := get(t.Context(), ""); err != nil || string(b) == string(whole) {
		t.Errorf("blob is not corrupt (%v)", err)
	}
	if _, b, err := get(t.Context(), ""); !errors.Is(err, io.ErrUnexpectedEOF) || len(b) != 10 {
		t.Errorf("cut: %d bytes, %v; want 10 and an unexpected end", len(b), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := get(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stall = %v, want DeadlineExceeded", err)
	}
	if got := r.BlobGets("app", d); got != 6 {
		t.Errorf("BlobGets = %d, want 6", got)
	}
	r.RequireBasic("u", "p")
	if code, _, _ := get(t.Context(), ""); code != http.StatusUnauthorized {
		t.Errorf("status = %d, want 401", code)
	}
}
