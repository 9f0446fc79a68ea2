package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/sandbox"
)

// bundle is what the VM booted from, held open: the files' names may come to mean those of
// a newer build.
type bundle struct {
	kernel, initrd       *os.File // nil: not known
	kernelSum, initrdSum string   // of a restored VM
}

func openBundle(cfg ServerConfig) (_ *bundle, err error) {
	if r := cfg.Restore; r != nil {
		return &bundle{kernelSum: r.Saved.Kernel, initrdSum: r.Saved.Initrd}, nil
	}
	b := &bundle{}
	for path, f := range map[string]**os.File{cfg.VM.Kernel: &b.kernel, cfg.VM.Initrd: &b.initrd} {
		// What is missing is for the driver to say.
		if *f, err = os.Open(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			b.close()
			return nil, fmt.Errorf("open guest bundle: %w", err)
		}
	}
	return b, nil
}

func (b *bundle) close() {
	for _, f := range []*os.File{b.kernel, b.initrd} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// sums are the SHA-256 of kernel and initrd.
func (b *bundle) sums() (kernel, initrd string, err error) {
	if b.kernel == nil || b.initrd == nil {
		return b.kernelSum, b.initrdSum, nil
	}
	if kernel, err = sumOf(b.kernel); err != nil {
		return "", "", err
	}
	initrd, err = sumOf(b.initrd)
	return kernel, initrd, err
}

func sumOf(f *os.File) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, st.Size())); err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkBundle refuses to restore a VM that booted another kernel or initrd than this build's
// VMs do: the agent in its memory is of another build, and its kernel may have faults that
// were mended since.
func (l *Launcher) checkBundle(s sandbox.SavedPod) error {
	for _, f := range []struct{ what, path, sum string }{
		{"kernel", l.config.Kernel, s.Kernel}, {"initrd", l.config.Initrd, s.Initrd},
	} {
		sum, err := filesum.SHA256(f.path)
		if err != nil {
			return fmt.Errorf("read %s of the guest bundle: %w", f.what, err)
		}
		if sum != f.sum {
			return fmt.Errorf("the checkpoint's %s has digest %.12s, that of this node's guest bundle %.12s: %w",
				f.what, f.sum, sum, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}
