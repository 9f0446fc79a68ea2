package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// checkpointVersion is the format of checkpoints. Another one is refused: all that is in one
// goes with the build's VM driver and guest.
const checkpointVersion = 1

// manifestFile is written last: a folder without one is no checkpoint.
const manifestFile = "manifest.json"

const (
	maxManifest = 16 << 20
)

// manifest is the file: a checkpoint, and the SHA-256 of its text.
type manifest struct {
	Version    int             `json:"version"`
	SHA256     string          `json:"sha256"`
	Checkpoint json.RawMessage `json:"checkpoint"`
}

// checkpoint is what there is to know of a saved pod.
type checkpoint struct {
	Build      string                `json:"build"` // of the shim that saved
	Created    time.Time             `json:"created"`
	Handler    string                `json:"handler"`
	Sysctls    map[string]string     `json:"sysctls,omitempty"`
	Namespaces Namespaces            `json:"namespaces"`
	Containers []checkpointContainer `json:"containers"`
	Saved      SavedPod              `json:"saved"`
	Files      map[string]fileSum    `json:"files"` // all others of the folder
}

// checkpointContainer is what a checkpoint keeps of a container besides the VM.
type checkpointContainer struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"` // when it was saved
	ImageID    string            `json:"imageId"`
	Facts      map[string]string `json:"facts"` // of the process; see factsOf
	Resources  Resources         `json:"resources"`
	User       ResolvedUser      `json:"user"`
	StopSignal string            `json:"stopSignal"`
	PID        int               `json:"pid"`
}

// fileSum is a file's content.
type fileSum struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (c checkpoint) write(dir string) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	sum := sha256.Sum256(body)
	b, err := json.Marshal(manifest{Version: checkpointVersion, SHA256: hex.EncodeToString(sum[:]), Checkpoint: body})
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(dir, manifestFile), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// readCheckpoint reads a checkpoint's manifest. Errors say what is wrong with it: NotFound
// when there is none, FailedPrecondition for one of another format, DataLoss for a damaged one.
func readCheckpoint(dir string) (c checkpoint, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read checkpoint %s: %w", dir, err)
		}
	}()
	if !filepath.IsAbs(dir) {
		return c, fmt.Errorf("checkpoint_path: %q is not an absolute path: %w", dir, errdefs.ErrInvalidArgument)
	}
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("it has no %s, so it is no checkpoint, or one that was not finished: %w", manifestFile, errdefs.ErrNotFound)
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return c, err
	}
	return decodeCheckpoint(b)
}

func decodeCheckpoint(b []byte) (c checkpoint, err error) {
	if len(b) > maxManifest {
		return c, fmt.Errorf("%s is larger than %d bytes: %w", manifestFile, maxManifest, errdefs.ErrDataLoss)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return c, fmt.Errorf("%s is damaged: %w: %w", manifestFile, err, errdefs.ErrDataLoss)
	}
	if m.Version != checkpointVersion {
		return c, fmt.Errorf("%s is of format %d, this build reads %d: %w", manifestFile, m.Version, checkpointVersion, errdefs.ErrFailedPrecondition)
	}
	if sum := sha256.Sum256(m.Checkpoint); hex.EncodeToString(sum[:]) != m.SHA256 {
		return c, fmt.Errorf("%s is damaged: its content has another digest than it says: %w", manifestFile, errdefs.ErrDataLoss)
	}
	d := json.NewDecoder(bytes.NewReader(m.Checkpoint))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w: %w", manifestFile, err, errdefs.ErrDataLoss)
	}
	return c, c.validate()
}

// validate checks what later steps rely on.
func (c checkpoint) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s: %w", manifestFile, fmt.Sprintf(format, args...), errdefs.ErrDataLoss)
	}
	if len(c.Containers) == 0 || len(c.Containers) != len(c.Saved.Containers) {
		return bad("%d containers, of which the VM has %d", len(c.Containers), len(c.Saved.Containers))
	}
	for _, ct := range c.Containers {
		if !slices.ContainsFunc(c.Saved.Containers, func(s SavedContainer) bool { return s.ID == ct.ID }) {
			return bad("container %s is not in the VM", ct.ID)
		}
	}
	names := []string{StateFile, ScratchFile}
	for _, s := range c.Saved.Shares {
		names = append(names, s.Table)
	}
	for _, name := range names {
		if _, ok := c.Files[name]; !ok || filepath.Base(name) != name {
			return bad("file %q is not named", name)
		}
	}
	if c.Saved.VCPUs < 1 || c.Saved.VCPUs > maxVCPUs || c.Saved.MemoryMiB < MinMemoryMiB || c.Saved.MemoryMiB > MaxMemoryMiB {
		return bad("a VM of %d CPUs and %d MiB", c.Saved.VCPUs, c.Saved.MemoryMiB)
	}
	return nil
}

// sumFolder tells the content of all files in a folder.
func sumFolder(ctx context.Context, dir string) (map[string]fileSum, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := make(map[string]fileSum, len(entries))
	for _, e := range entries {
		if out[e.Name()], err = sumFile(ctx, filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sumFile(ctx context.Context, path string) (fileSum, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileSum{}, err
	}
	defer f.Close()
	s := newSummer(ctx, f)
	if _, err := io.Copy(io.Discard, s); err != nil {
		return fileSum{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s.sum(), nil
}

// summer is a reader that sums what is read, until ctx ends.
type summer struct {
	ctx  func() error
	r    io.Reader
	hash hash.Hash
	n    int64
}

func newSummer(ctx context.Context, r io.Reader) *summer {
	return &summer{ctx: ctx.Err, r: r, hash: sha256.New()}
}

func (s *summer) Read(b []byte) (int, error) {
	if err := s.ctx(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(b)
	s.hash.Write(b[:n])
	s.n += int64(n)
	return n, err
}

func (s *summer) sum() fileSum {
	return fileSum{Bytes: s.n, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}

// checkFile compares a file of a checkpoint with what the manifest says of it.
func (c checkpoint) checkFile(ctx context.Context, dir, name string) error {
	got, err := sumFile(ctx, filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read checkpoint: %w: %w", err, errdefs.ErrDataLoss)
	}
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	return c.compare(dir, name, got)
}

func (c checkpoint) compare(dir, name string, got fileSum) error {
	want := c.Files[name]
	if got == want {
		return nil
	}
	return fmt.Errorf("read checkpoint: %s is damaged: it has %d bytes with digest %.12s, not %d with %.12s: %w",
		filepath.Join(dir, name), got.Bytes, got.SHA256, want.Bytes, want.SHA256, errdefs.ErrDataLoss)
}
