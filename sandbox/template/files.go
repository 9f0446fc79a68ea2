package template

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/internal/sparsefile"
)

// Files are what a template consists of.
type Files struct {
	Memory, State *os.File
	// Scratch is the disk that the VM has mounted; nil: none is wanted. Who builds a template
	// that has none cuts it to no bytes.
	Scratch *os.File
}

// newFiles makes blank files; those of a scratch disk of so many bytes, if any.
func newFiles(c Class, scratchBytes int64) (f Files, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.Memory, err = memfile.New("porthole template", int64(c.MemoryMiB)<<20); err != nil {
		return f, err
	}
	if f.State, err = memfile.New("porthole template state", 0); err != nil {
		return f, err
	}
	if scratchBytes > 0 {
		f.Scratch, err = memfile.New("porthole template scratch", scratchBytes)
	}
	return f, err
}

// dropEmpty closes a scratch disk of no bytes.
func (f *Files) dropEmpty() error {
	if f.Scratch == nil {
		return nil
	}
	st, err := f.Scratch.Stat()
	if err == nil && st.Size() == 0 {
		err = f.Scratch.Close()
		f.Scratch = nil
	}
	return err
}

// all are the files that there are.
func (f Files) all() []*os.File {
	var out []*os.File
	for _, file := range []*os.File{f.Memory, f.State, f.Scratch} {
		if file != nil {
			out = append(out, file)
		}
	}
	return out
}

func (f Files) close() error {
	var errs []error
	for _, file := range f.all() {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

func (f Files) seal() error {
	for _, file := range f.all() {
		if err := memfile.Seal(file); err != nil {
			return err
		}
	}
	return nil
}

// dup copies the descriptors.
func (f Files) dup() (out Files, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, out.close())
		}
	}()
	if out.Memory, err = memfile.Dup(f.Memory); err != nil {
		return out, err
	}
	if out.State, err = memfile.Dup(f.State); err != nil {
		return out, err
	}
	if f.Scratch != nil {
		out.Scratch, err = memfile.Dup(f.Scratch)
	}
	return out, err
}

// sums are the digests of the state, which must not be empty, and of the scratch disk.
func (f Files) sums(ctx context.Context) (state, scratch string, err error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f.State, 0, 1<<62))
	if err == nil && n == 0 {
		err = errors.New("its state is empty")
	}
	if err != nil {
		return "", "", fmt.Errorf("read state of template: %w", err)
	}
	state = hex.EncodeToString(h.Sum(nil))
	if f.Scratch == nil {
		return state, "", nil
	}
	h.Reset()
	if err := sparsefile.Pack(ctx, h, f.Scratch); err != nil {
		return "", "", fmt.Errorf("read scratch disk of template: %w", err)
	}
	return state, hex.EncodeToString(h.Sum(nil)), nil
}

// allocated is how much memory they hold but for the state.
func (f Files) allocated() (int64, error) {
	n, err := memfile.Allocated(f.Memory)
	if err == nil && f.Scratch != nil {
		var m int64
		m, err = memfile.Allocated(f.Scratch)
		n += m
	}
	return n, err
}
