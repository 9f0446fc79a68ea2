package scratch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/diskfull"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/sandbox"
)

// Config is what Disks work with.
type Config struct {
	// Dir is the folder of templates; it is made if need be. Copies share their blocks
	// with the template where Dir and the disks are on one file system that can do so.
	Dir string
	// Mkfs is the path or name of mkfs.ext4; empty: "mkfs.ext4".
	Mkfs string
	// CountProjects makes file systems that count what each project takes (project quotas):
	// for guests whose kernel can, as others cannot mount them.
	CountProjects bool
	// Logger hears once why disks are blank, if they are; nil: slog.Default.
	Logger *slog.Logger
}

// Disks makes scratch disks.
type Disks struct {
	cfg  Config    // immutable
	warn sync.Once // that there is no mkfs

	mu sync.Mutex // held while a template is made
}

var (
	_ sandbox.Scratch         = (*Disks)(nil)
	_ sandbox.ScratchRestorer = (*Disks)(nil)
	_ sandbox.ScratchFiller   = (*Disks)(nil)
)

// templateVersion is part of templates' names: raising it makes new ones.
const templateVersion = 1

// New makes a Disks, and removes templates that were not finished.
func New(c Config) (*Disks, error) {
	if c.Mkfs == "" {
		c.Mkfs = "mkfs.ext4"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of scratch templates: %w", err)
	}
	parts, err := filepath.Glob(filepath.Join(c.Dir, "*"+partSuffix))
	if err != nil {
		return nil, fmt.Errorf("find unfinished scratch templates: %w", err)
	}
	for _, p := range parts {
		if err := os.Remove(p); err != nil {
			return nil, fmt.Errorf("remove unfinished scratch template: %w", err)
		}
	}
	return &Disks{cfg: c}, nil
}

const partSuffix = ".part"

// Create implements sandbox.Scratch. A full disk is a ResourceExhausted error.
func (d *Disks) Create(ctx context.Context, path string, bytes int64) (_ sandbox.Disk, err error) {
	if bytes <= 0 || bytes%512 != 0 {
		return sandbox.Disk{}, fmt.Errorf("make scratch disk: %d bytes are not whole sectors: %w", bytes, errdefs.ErrInvalidArgument)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make scratch disk %s: %w", path, errors.Join(kindOf(err), d.Remove(context.WithoutCancel(ctx), path)))
		}
	}()
	if err := d.Remove(ctx, path); err != nil { // an old one may be larger, or a link to elsewhere
		return sandbox.Disk{}, err
	}
	template, err := d.template(ctx, bytes)
	if err != nil {
		return sandbox.Disk{}, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return sandbox.Disk{}, err
	}
	if template != "" {
		err = copyTemplate(f, template)
	}
	if err == nil {
		err = f.Truncate(bytes)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return sandbox.Disk{}, err
	}
	return sandbox.Disk{Path: path, Format: sandbox.DiskRaw}, nil
}

// Fill implements sandbox.ScratchFiller. Where this host cannot make file systems, it leaves
// the file blank.
func (d *Disks) Fill(ctx context.Context, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("fill scratch disk: %w", err)
	}
	template, err := d.template(ctx, st.Size())
	if err == nil && template != "" {
		err = copyTemplate(f, template)
	}
	if err != nil {
		return fmt.Errorf("fill scratch disk: %w", err)
	}
	return nil
}

// Restore implements sandbox.ScratchRestorer.
func (d *Disks) Restore(ctx context.Context, path string, r io.Reader) (_ sandbox.Disk, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore scratch disk %s: %w", path, errors.Join(kindOf(err), d.Remove(context.WithoutCancel(ctx), path)))
		}
	}()
	if err := d.Remove(ctx, path); err != nil {
		return sandbox.Disk{}, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return sandbox.Disk{}, err
	}
	if err := errors.Join(sparsefile.Unpack(ctx, f, r, maxBytes), f.Close()); err != nil {
		return sandbox.Disk{}, err
	}
	return sandbox.Disk{Path: path, Format: sandbox.DiskRaw}, nil
}

// maxBytes bounds a disk that is restored: what a VHDX may have.
const maxBytes = 64 << 40

// Remove implements sandbox.Scratch.
func (d *Disks) Remove(_ context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove scratch disk: %w", err)
	}
	return nil
}

// Usage implements sandbox.Scratch.
func (d *Disks) Usage(_ context.Context, path string) (uint64, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("measure scratch disk: %w", err)
	}
	return allocated(fi), nil
}

// template is the path of the template of a size, made now if it is the first; empty
// when this host cannot make one.
func (d *Disks) template(ctx context.Context, bytes int64) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kind := "ext4"
	if d.cfg.CountProjects {
		kind = "ext4-projects"
	}
	path := filepath.Join(d.cfg.Dir, fmt.Sprintf("%s-v%d-%d.img", kind, templateVersion, bytes))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	mkfs, err := exec.LookPath(d.cfg.Mkfs)
	if err != nil {
		d.warn.Do(func() {
			d.cfg.Logger.Warn("scratch disks are formatted in the guest, which is slower: install e2fsprogs",
				logkey.Error, err)
		})
		return "", nil
	}
	if err := d.makeTemplate(ctx, mkfs, path, bytes); err != nil {
		return "", fmt.Errorf("make scratch template: %w", err)
	}
	return path, nil
}

func (d *Disks) makeTemplate(ctx context.Context, mkfs, path string, bytes int64) (err error) {
	part := path + partSuffix
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Remove(ctx, part))
		}
	}()
	if err := errors.Join(f.Truncate(bytes), f.Close()); err != nil {
		return err
	}
	// No journal: what a pod writes here does not outlive it. Lazy tables: the file
	// is all zeros, so there is nothing to initialise. No blocks kept for root. Inodes of
	// 256 bytes have room for a project.
	features, options := "^has_journal", "lazy_itable_init=1,nodiscard"
	if d.cfg.CountProjects {
		features, options = features+",quota,project", options+",quotatype=prjquota"
	}
	out, err := exec.CommandContext(ctx, mkfs, "-q", "-F", "-m", "0", "-I", "256", "-O", features,
		"-E", options, "-L", "scratch", part).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", mkfs, err, strings.TrimSpace(string(out)))
	}
	if f, err = os.OpenFile(part, os.O_RDWR, 0); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// copyTemplate fills the empty file dst with the template's content and keeps its holes.
func copyTemplate(dst *os.File, template string) error {
	src, err := os.Open(template)
	if err != nil {
		return err
	}
	defer src.Close()
	return copySparse(dst, src)
}

// kindOf marks the errors that callers act on.
func kindOf(err error) error {
	if diskfull.Is(err) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
	return err
}
