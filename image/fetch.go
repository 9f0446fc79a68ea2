package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxIdleAttempts = 4 // in a row that bring no byte
	firstBackoff    = 100 * time.Millisecond
	progressEvery   = 10 * time.Second
	ingestPrefix    = "blob-"
)

// fetch makes sure that a blob is in the content store, whole and checked.
func (s *Store) fetch(ctx context.Context, o origin, desc ocispec.Descriptor) error {
	if s.hasBlob(ctx, desc) {
		return nil
	}
	if o.fetcher == nil {
		return fmt.Errorf("blob %s is not in the archive: %w", desc.Digest, errdefs.ErrInvalidArgument)
	}
	return s.flights.do(ctx, "blob:"+desc.Digest.String(), func(ctx context.Context) error {
		if s.hasBlob(ctx, desc) {
			return nil
		}
		if err := s.downloads.acquire(ctx); err != nil {
			return err
		}
		defer s.downloads.release()
		defer s.cfg.Metrics.start("download")()
		return registryError(ctx, o.ref, o.host, s.download(ctx, o, desc))
	})
}

func (s *Store) hasBlob(ctx context.Context, desc ocispec.Descriptor) bool {
	info, err := s.content.Info(ctx, desc.Digest)
	return err == nil && (desc.Size == 0 || info.Size == desc.Size)
}

// download repeats attempts until the blob is whole. Each goes on where the last one
// was cut.
func (s *Store) download(ctx context.Context, o origin, desc ocispec.Descriptor) error {
	ref := ingestPrefix + desc.Digest.String()
	wait := firstBackoff
	for idle, again := 0, false; ; {
		before := s.ingested(ctx, ref)
		err := s.attempt(ctx, o, desc, ref)
		if err == nil {
			return nil
		}
		if isWrongContent(err) {
			// What an earlier attempt left may have been the wrong part.
			if aerr := s.content.Abort(ctx, ref); aerr != nil && !errdefs.IsNotFound(aerr) {
				return errors.Join(err, aerr)
			}
			if before > 0 && !again {
				again = true
				continue
			}
			return fmt.Errorf("blob %s: what the registry sends is not that: %w", desc.Digest, errdefs.ErrDataLoss)
		}
		if ctx.Err() != nil || !transient(err) {
			return err
		}
		if idle++; s.ingested(ctx, ref) > before {
			idle, wait = 0, firstBackoff
		}
		if idle >= maxIdleAttempts {
			return err
		}
		s.log.DebugContext(ctx, "download cut", "digest", desc.Digest.String(), "error", err)
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ingested is how much of an unfinished download is there.
func (s *Store) ingested(ctx context.Context, ref string) int64 {
	st, err := s.content.Status(ctx, ref)
	if err != nil {
		return 0
	}
	return st.Offset
}

func (s *Store) attempt(ctx context.Context, o origin, desc ocispec.Descriptor, ref string) error {
	if err := s.step("write blob"); err != nil {
		return err
	}
	w, err := content.OpenWriter(ctx, s.content, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", desc.Digest, err)
	}
	defer w.Close()
	desc.URLs = nil // blobs come from registries that the administrator knows
	rctx, watch := newWatchdog(ctx, s.cfg.ProgressTimeout)
	defer watch.stop()
	rc, err := o.fetcher.Fetch(rctx, desc)
	if err != nil {
		return watch.explain(err)
	}
	defer rc.Close()
	seeker, _ := rc.(interface {
		Seek(int64, int) (int64, error)
	})
	p := progress{store: s, desc: desc, last: time.Now(), done: s.ingested(ctx, ref)}
	r := &watchedReader{Reader: rc, seeker: seeker, read: func(n int) {
		watch.kick()
		s.cfg.Metrics.fetched(n)
		p.add(ctx, n)
	}}
	if err := watch.explain(content.Copy(ctx, w, r, desc.Size, desc.Digest)); err != nil {
		return err
	}
	return s.step("blob written")
}

// progress logs a long download now and then.
type progress struct {
	store *Store
	desc  ocispec.Descriptor
	last  time.Time
	done  int64
}

func (p *progress) add(ctx context.Context, n int) {
	p.done += int64(n)
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		p.store.log.InfoContext(ctx, "download goes on", "digest", p.desc.Digest.String(), "bytes", p.done, "of", p.desc.Size)
	}
}

// isWrongContent tells errors of content that has not the size or digest it should.
// containerd has no kind of its own for them.
func isWrongContent(err error) bool {
	return errdefs.IsFailedPrecondition(err) && (strings.Contains(err.Error(), "unexpected commit") ||
		strings.Contains(err.Error(), "expected size"))
}

// document fetches a small JSON blob and decodes it.
func (s *Store) document(ctx context.Context, o origin, desc ocispec.Descriptor, into any) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	if desc.Size > maxDocument {
		return fmt.Errorf("%s of %d bytes is too large, %d are taken at most: %w", desc.MediaType, desc.Size, maxDocument, errdefs.ErrInvalidArgument)
	}
	if err := s.fetch(ctx, o, desc); err != nil {
		return err
	}
	desc.Data = nil // what a descriptor brings along was not checked by us
	b, err := content.ReadBlob(ctx, s.content, desc)
	if err != nil {
		return fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s %s is not valid JSON: %w: %w", desc.MediaType, desc.Digest, errdefs.ErrInvalidArgument, err)
	}
	return nil
}

// checkDescriptor refuses digests that are not: they become file names.
func checkDescriptor(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w: %w", clip(string(desc.Digest)), errdefs.ErrInvalidArgument, err)
	}
	if desc.Size < 0 {
		return fmt.Errorf("blob %s has size %d: %w", desc.Digest, desc.Size, errdefs.ErrInvalidArgument)
	}
	return nil
}
