package card

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
)

// hostFolder is a folder of the host's that other users may go into.
func hostFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = d[:strings.LastIndexByte(d, '/')] {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestHost runs the checks on the file system of the host's temporary folder: what they
// want is what Linux does.
func TestHost(t *testing.T) {
	testneed.Root(t)
	sys, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := Run(t.Context(), sys, Options{System: "host", Exceptions: Exceptions})
	if c.Count(Passed) != len(c.Results) {
		var b strings.Builder
		_ = c.Print(&b)
		t.Error(b.String())
	}
}

// TestModelAlike compares the host with itself: what parts then is the comparison's fault.
func TestModelAlike(t *testing.T) {
	testneed.Root(t)
	sys, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(sys.Close(), oracle.Close()) }()
	for seed := range uint64(5) {
		d, err := CompareModel(t.Context(), sys, oracle, ModelOptions{Seed: seed, Steps: 400})
		if err != nil {
			t.Fatal(err)
		}
		if d != nil {
			t.Error(d)
		}
	}
}

// lossy forgets the set-user-id bit.
type lossy struct{ *Real }

type lossyProc struct{ Proc }

func (s lossy) Start(c Cred, dir string) (Proc, error) {
	p, err := s.Real.Start(c, dir)
	return lossyProc{p}, err
}

func (p lossyProc) Chmod(path string, mode uint32) error { return p.Proc.Chmod(path, mode&^0o4000) }

// TestModelFinds shrinks what it finds to what is needed.
func TestModelFinds(t *testing.T) {
	testneed.Root(t)
	sys, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(sys.Close(), oracle.Close()) }()
	for seed := range uint64(500) {
		d, err := CompareModel(t.Context(), lossy{sys}, oracle, ModelOptions{Seed: seed, Steps: 300})
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			continue
		}
		if len(d.Lines) > 4 || !strings.Contains(d.String(), "04755") {
			t.Errorf("found %v", d)
		}
		return
	}
	t.Error("found nothing")
}
