package hcnnet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// creating is an HNS of which the making of namespaces is changed.
type creating struct {
	hcnnet.HNS
	create func(id string) (string, error)
}

func (c creating) CreateNamespace(id string) (string, error) { return c.create(id) }

// TestCreate_NotRecorded: a namespace that cannot be written down would never be found again, so that it goes.
func TestCreate_NotRecorded(t *testing.T) {
	w := newWorld(t, "win-bridge")
	dir := filepath.Join(w.dir, "hns")
	host, err := hcnnet.New(hcnnet.Config{Dir: dir}, creating{w.hns, func(id string) (string, error) {
		got, err := w.hns.CreateNamespace(id)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the place of the folder
			t.Error(err)
		}
		return got, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := host.Create(t.Context(), podID); err == nil || !strings.Contains(err.Error(), "write what HNS holds for pod "+podID) {
		t.Errorf("Create = %q, %v, want an error that names the pod", id, err)
	}
	if left := strings.TrimPrefix(w.hns.String(), w.empty); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestCreate_NoGUID: what HNS calls a namespace becomes an argument of plugins and part of a record.
func TestCreate_NoGUID(t *testing.T) {
	w := newWorld(t, "win-bridge")
	host, err := hcnnet.New(hcnnet.Config{Dir: filepath.Join(w.dir, "hns")}, creating{w.hns, func(string) (string, error) { return "..\\x", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := host.Create(t.Context(), podID); !errdefs.IsInternal(err) {
		t.Errorf("Create = %q, %v, want Internal", id, err)
	}
	if err := host.Remove(t.Context(), podID); err != nil {
		t.Errorf("Remove = %v", err)
	}
	if left := w.left(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}
