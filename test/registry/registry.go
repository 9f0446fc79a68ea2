package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Registry is a registry that runs. Its methods are safe for concurrent use.
type Registry struct {
	handler  http.Handler // the registry itself
	server   *http.Server
	listener net.Listener
	served   chan struct{}

	mu     sync.Mutex // guards what follows
	faults []*Fault
	login  *login
	counts map[string]int
	tokens map[string]bool
}

// Start runs a registry on a loopback address such as "127.0.0.1:0".
func Start(addr string) (*Registry, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r := &Registry{
		handler:  ranged(registry.New(registry.Logger(log.New(io.Discard, "", 0)))),
		listener: l, served: make(chan struct{}),
		counts: map[string]int{}, tokens: map[string]bool{},
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(l) // always an error: that it was closed
	}()
	return r, nil
}

// Host is the registry's address, as references begin with.
func (r *Registry) Host() string { return r.listener.Addr().String() }

// URL is where the registry answers.
func (r *Registry) URL() string { return "http://" + r.Host() }

// Close ends the registry and all connections to it.
func (r *Registry) Close() error {
	err := r.server.Close()
	<-r.served
	return err
}

// Push puts an image into the registry as repository:tag and returns the digest of
// its manifest. It goes around faults and log-in.
func (r *Registry) Push(ctx context.Context, repository, tag string, img v1.Image) (v1.Hash, error) {
	if err := r.pushBlobs(ctx, repository, img); err != nil {
		return v1.Hash{}, fmt.Errorf("push %s:%s: %w", repository, tag, err)
	}
	raw, err1 := img.RawManifest()
	mt, err2 := img.MediaType()
	d, err3 := img.Digest()
	if err := errors.Join(err1, err2, err3); err != nil {
		return v1.Hash{}, fmt.Errorf("push %s:%s: %w", repository, tag, err)
	}
	return d, r.PushManifest(ctx, repository, tag, mt, raw)
}

// PushIndex puts an index with its images into the registry.
func (r *Registry) PushIndex(ctx context.Context, repository, tag string, idx v1.ImageIndex) error {
	m, err := idx.IndexManifest()
	if err != nil {
		return fmt.Errorf("push %s:%s: %w", repository, tag, err)
	}
	for _, desc := range m.Manifests {
		img, err := idx.Image(desc.Digest)
		if err != nil {
			return fmt.Errorf("push %s:%s: %w", repository, tag, err)
		}
		if _, err := r.Push(ctx, repository, desc.Digest.String(), img); err != nil {
			return err
		}
	}
	raw, err1 := idx.RawManifest()
	mt, err2 := idx.MediaType()
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("push %s:%s: %w", repository, tag, err)
	}
	return r.PushManifest(ctx, repository, tag, mt, raw)
}

// PushManifest puts a manifest into the registry as it is, right or wrong.
func (r *Registry) PushManifest(ctx context.Context, repository, tag string, mt types.MediaType, raw []byte) error {
	return r.put(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, string(mt), bytes.NewReader(raw))
}

// PushBlob puts a blob into the registry.
func (r *Registry) PushBlob(ctx context.Context, repository string, digest v1.Hash, content io.Reader) error {
	b, err := io.ReadAll(content) // the registry wants to know the length
	if err != nil {
		return err
	}
	return r.put(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+url.QueryEscape(digest.String()),
		"application/octet-stream", bytes.NewReader(b))
}

func (r *Registry) pushBlobs(ctx context.Context, repository string, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return err
		}
		rc, err := l.Compressed()
		if err != nil {
			return err
		}
		err = errors.Join(r.PushBlob(ctx, repository, d, rc), rc.Close())
		if err != nil {
			return err
		}
	}
	config, err1 := img.RawConfigFile()
	d, err2 := img.ConfigName()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return r.PushBlob(ctx, repository, d, bytes.NewReader(config))
}

// put calls the registry itself, without a connection.
func (r *Registry) put(ctx context.Context, method, target, mediaType string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	rec := httptest.NewRecorder()
	r.handler.ServeHTTP(rec, req)
	if rec.Code/100 != 2 {
		return fmt.Errorf("registry answers %d to %s %s: %s", rec.Code, method, req.URL.Path, rec.Body)
	}
	return nil
}

// Requests returns how often method and path were asked for, faults included.
func (r *Registry) Requests(method, path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[method+" "+path]
}

// BlobGets returns how often blobs were asked for, by digest.
func (r *Registry) BlobGets(repository string, digest v1.Hash) int {
	return r.Requests(http.MethodGet, "/v2/"+repository+"/blobs/"+digest.String())
}

// ServeHTTP counts a request, checks who asks, and applies the first fault that fits.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.counts[req.Method+" "+req.URL.Path]++
	login := r.login
	var fault *Fault
	for _, f := range r.faults {
		if f.fits(req) {
			fault = f
			break
		}
	}
	r.mu.Unlock()
	if login != nil && !r.admit(w, req, login) {
		return
	}
	if fault != nil {
		fault.serve(w, req, r.handler)
		return
	}
	r.handler.ServeHTTP(w, req)
}
