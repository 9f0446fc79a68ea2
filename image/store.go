package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/internal/atomicfile"
	"github.com/porthole-run/porthole/internal/diskfull"
)

// Store keeps images. See the package comment.
type Store struct {
	cfg       Config // immutable after Open, like all up to mu
	root      string
	layersDir string
	imagesDir string
	holdsDir  string
	// ingestsDir is the content store's: a folder for each unfinished download.
	ingestsDir string
	log        *slog.Logger
	platform   platforms.MatchComparer
	content    content.Store
	lock       *os.File

	gate        gate // of calls that work on files
	flights     flights
	downloads   limit
	conversions limit
	importing   sync.Mutex // one import at a time: their blobs have names of their own

	mu     sync.Mutex // guards what follows, and removal of files
	images map[digest.Digest]*record
	holds  map[string]digest.Digest    // by holder
	pins   map[digest.Digest]int       // blobs and layers that work under way needs
	spared map[digest.Digest]time.Time // what failed pulls brought, and until when it is kept
	busy   int                         // imports under way, whose blobs are not known yet
	missed bool                        // things were pinned when files were collected last
	sweep  *time.Timer                 // the next collection that nobody asks for; nil: none so far
	seq    uint64                      // the last number given to a name
	// accounts are of images that are here.
	accounts accountCache
}

// Open opens the store in cfg.Root, makes it when it is not there, and clears what a
// crash left. A store can be open once: FailedPrecondition when another process has
// it.
func Open(cfg Config) (*Store, error) {
	platform, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, root: cfg.Root, log: cfg.Logger,
		layersDir:   filepath.Join(cfg.Root, "layers"),
		imagesDir:   filepath.Join(cfg.Root, "images"),
		holdsDir:    filepath.Join(cfg.Root, "holds"),
		ingestsDir:  filepath.Join(cfg.Root, "content", "ingest"),
		platform:    platforms.Only(platform),
		downloads:   make(limit, cfg.MaxDownloads),
		conversions: make(limit, cfg.MaxConversions),
		images:      map[digest.Digest]*record{},
		holds:       map[string]digest.Digest{},
		pins:        map[digest.Digest]int{},
		spared:      map[digest.Digest]time.Time{},
	}
	if err := s.open(); err != nil {
		if s.lock != nil {
			err = errors.Join(err, s.Close())
		}
		return nil, fmt.Errorf("open image store: %w", diskError(s.root, err))
	}
	return s, nil
}

func (s *Store) open() error {
	// Root and layers can be passed through: hypervisors run as users of their own
	// and open layers by name.
	content := filepath.Join(s.root, "content")
	for _, d := range []struct {
		path string
		perm os.FileMode
	}{
		{s.root, 0o711}, {s.layersDir, 0o711}, {s.imagesDir, 0o700}, {s.holdsDir, 0o700},
		{content, 0o700}, {filepath.Join(content, "blobs"), 0o700}, {s.ingestsDir, 0o700},
	} {
		if err := os.MkdirAll(d.path, d.perm); err != nil {
			return err
		}
	}
	var err error
	if s.lock, err = lockFile(filepath.Join(s.root, "lock")); err != nil {
		return err
	}
	if s.content, err = local.NewStore(content); err != nil {
		return err
	}
	if err := errors.Join(atomicfile.Clean(s.imagesDir), atomicfile.Clean(s.holdsDir), s.cleanTemp()); err != nil {
		return err
	}
	if err := s.loadRecords(); err != nil {
		return err
	}
	if err := s.loadHolds(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.dropBroken(); err != nil {
		return err
	}
	ctx := context.Background() // opening is not for one caller
	if err := s.spareIngests(ctx); err != nil {
		return err
	}
	return s.collect(ctx, true)
}

// Close ends all work and waits for it: then nothing of the store's folder is touched
// any more. Callers of methods that work on files get Unavailable. Who imports from a
// stream that hangs, or exports to one, ends the stream first.
func (s *Store) Close() error {
	s.gate.close()
	s.flights.close()
	s.gate.wait()
	s.mu.Lock()
	if s.sweep != nil {
		s.sweep.Stop()
	}
	s.mu.Unlock()
	return s.lock.Close()
}

// cleanTemp removes layers that were being written.
func (s *Store) cleanTemp() error {
	entries, err := os.ReadDir(s.layersDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempLayer) {
			err = errors.Join(err, ignoreMissing(os.Remove(filepath.Join(s.layersDir, e.Name()))))
		}
	}
	return err
}

// dropBroken forgets images that nobody holds and that are removed or have lost a
// layer. s.mu is held.
func (s *Store) dropBroken() error {
	for _, r := range s.images {
		if s.held(r.ID) {
			continue
		}
		whole, err := s.whole(r)
		if err != nil {
			return err
		}
		if whole && !r.Removed {
			continue
		}
		if !r.Removed {
			s.log.Warn("image has lost a layer and must be pulled again", "image", r.ID.String())
		}
		if err := s.forget(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadHolds() error {
	entries, err := os.ReadDir(s.holdsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.holdsDir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var h holdRecord
		if json.Unmarshal(b, &h) != nil || s.images[h.Image] == nil || s.holdPath(h.Holder) != path {
			s.log.Warn("hold on an image dropped", "path", path)
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		s.holds[h.Holder] = h.Image
	}
	return nil
}

// step is called before each change of the disk.
func (s *Store) step(name string) error {
	if s.cfg.hook == nil {
		return nil
	}
	return s.cfg.hook(name)
}

// diskError gives a full disk its kind and names where it is.
func diskError(path string, err error) error {
	if err != nil && diskfull.Is(err) && !errdefs.IsResourceExhausted(err) {
		return fmt.Errorf("write below %s: %w: %w", path, errdefs.ErrResourceExhausted, err)
	}
	return err
}
