package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// record is what it takes to detach a pod. libcni keeps a cache too, but writes it only
// after all plugins have succeeded.
type record struct {
	ID           string          `json:"id"`
	ConfFile     string          `json:"confFile"` // where Conf came from, for messages
	Conf         json.RawMessage `json:"conf"`     // with all plugins inlined
	Args         [][2]string     `json:"args"`
	Capabilities map[string]any  `json:"capabilities"`
}

const recordExt = ".json"

func (m *Manager) recordDir() string { return filepath.Join(m.config.CacheDir, "attachments") }

func (m *Manager) recordPath(id string) string { return filepath.Join(m.recordDir(), id+recordExt) }

func (m *Manager) writeRecord(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write network record: %w", err)
	}
	if err := os.MkdirAll(m.recordDir(), 0o700); err != nil {
		return fmt.Errorf("write network record: %w", err)
	}
	return atomicfile.Write(m.recordPath(r.ID), data, 0o600)
}

// readRecord returns nil when there is none.
func (m *Manager) readRecord(id string) (*record, error) {
	data, err := os.ReadFile(m.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read network record: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read network record %s: %w", m.recordPath(id), err)
	}
	return &r, nil
}

func (m *Manager) removeRecord(id string) error {
	if err := os.Remove(m.recordPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network record: %w", err)
	}
	return nil
}

// runtimeConf returns the arguments for plugins; netns is empty when the namespace is gone.
func (r *record) runtimeConf(netns string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID:    r.ID,
		NetNS:          netns,
		IfName:         interfaceName,
		Args:           r.Args,
		CapabilityArgs: r.Capabilities,
	}
}

// known returns the ids of all pods of which something is left.
func (m *Manager) known() ([]string, error) {
	entries, err := os.ReadDir(m.recordDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list attached pods: %w", err)
	}
	held, err := m.host.Pods()
	if err != nil {
		return nil, fmt.Errorf("list attached pods: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), recordExt); ok && validateID(id) == nil {
			ids = append(ids, id)
		}
	}
	for _, id := range held {
		if validateID(id) == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
