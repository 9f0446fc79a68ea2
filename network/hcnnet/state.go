package hcnnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// podState is what HNS holds for a pod. It is stored, as HNS keeps no name with a
// namespace, and does not tell which endpoints a namespace had that is gone.
type podState struct {
	Asked     string   `json:"asked"`               // the id that a namespace was asked for with
	Namespace string   `json:"namespace,omitempty"` // the id it got; empty: it is not known whether there is one
	Endpoints []string `json:"endpoints,omitempty"` // ids, in the order of NICs; empty: Read has not finished
}

const stateExt = ".json"

func (h *Host) statePath(podID string) string { return filepath.Join(h.dir, podID+stateExt) }

// readState returns nil when there is none.
func (h *Host) readState(podID string) (*podState, error) {
	if _, err := namespaceID(podID); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(h.statePath(podID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what HNS holds for pod %s: %w", podID, err)
	}
	var s podState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read what HNS holds for pod %s: %s: %w", podID, h.statePath(podID), err)
	}
	for _, id := range slices.Concat([]string{s.Asked, s.Namespace}, s.Endpoints) {
		if id != "" && !isGUID(id) {
			return nil, fmt.Errorf("read what HNS holds for pod %s: %s: %.40q is no GUID: %w", podID, h.statePath(podID), id, errdefs.ErrDataLoss)
		}
	}
	return &s, nil
}

func (h *Host) writeState(podID string, s *podState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write what HNS holds for pod %s: %w", podID, err)
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("write what HNS holds for pod %s: %w", podID, err)
	}
	if err := atomicfile.Write(h.statePath(podID), data, 0o600); err != nil {
		return fmt.Errorf("write what HNS holds for pod %s: %w", podID, err)
	}
	return nil
}

func (h *Host) removeState(podID string) error {
	if err := os.Remove(h.statePath(podID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what HNS holds for pod %s: %w", podID, err)
	}
	return nil
}

// Pods implements network.Host.
func (h *Host) Pods() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list pods that HNS holds something for: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), stateExt); ok && isPodID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// namespaceID is the id that a pod's namespace is asked for with: the pod's own, as a GUID.
func namespaceID(podID string) (string, error) {
	if !isPodID(podID) {
		return "", fmt.Errorf("pod id %.40q is not 32 hexadecimal digits, of which HNS's ids are made: %w", podID, errdefs.ErrInvalidArgument)
	}
	return strings.Join([]string{podID[:8], podID[8:12], podID[12:16], podID[16:20], podID[20:]}, "-"), nil
}

func isPodID(s string) bool {
	return len(s) == 32 && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
}

func isGUID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	return isPodID(strings.ToLower(strings.ReplaceAll(s, "-", "")))
}
