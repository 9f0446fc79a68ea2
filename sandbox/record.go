package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// recordVersion is the format this build writes. A change that an older build would
// misread raises it; fields may be added without.
const recordVersion = 1

const (
	podFile         = "pod.json"
	containerSuffix = ".container.json"
	scratchFile     = "scratch.img"
	quarantineDir   = "quarantine"

	folderMode = 0o711
)

// errNewerRecord marks a record of a newer build, which must be left as it is.
var errNewerRecord = errors.New("record is of a newer version")

// podRecord is what is kept of a pod in <root>/<pod id>/pod.json.
type podRecord struct {
	Version   int            `json:"version"`
	ID        string         `json:"id"`
	State     string         `json:"state"`
	Config    PodConfig      `json:"config"`
	CreatedAt time.Time      `json:"createdAt"`
	Network   *NetworkResult `json:"network,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Ungrouped string         `json:"ungrouped,omitempty"`
	VCPUs     int            `json:"vcpus,omitempty"`
	MemoryMiB int            `json:"memoryMiB,omitempty"`
	VM        *vmRecord      `json:"vm,omitempty"` // nil: the VM has the pod's id and no other pod
}

// vmRecord is what a pod's record keeps of the VM that it shares.
type vmRecord struct {
	ID   string `json:"id"`
	Need int    `json:"needMiB,omitempty"`
	Spec vmSpec `json:"spec"`
}

// containerRecord is what is kept of a container in <root>/<pod id>/<id>.container.json.
type containerRecord struct {
	Version    int             `json:"version"`
	ID         string          `json:"id"`
	PodID      string          `json:"podId"`
	State      string          `json:"state"`
	Config     ContainerConfig `json:"config"`
	ImageID    string          `json:"imageId"`
	CreatedAt  time.Time       `json:"createdAt"`
	StartedAt  time.Time       `json:"startedAt"`
	FinishedAt time.Time       `json:"finishedAt"`
	ExitCode   int             `json:"exitCode"`
	Reason     string          `json:"reason,omitempty"`
	Message    string          `json:"message,omitempty"`
	User       ResolvedUser    `json:"user"`
	StopSignal string          `json:"stopSignal"`
	PID        int             `json:"pid"`
	// MountImages are the ids of the images of the config's mounts, empty for other mounts.
	MountImages []string `json:"mountImages,omitempty"`
}

// decodePodRecord reads a pod's record. Errors wrap errNewerRecord when another build
// could read it.
func decodePodRecord(data []byte) (podRecord, error) {
	var r podRecord
	if err := decodeRecord(data, &r); err != nil {
		return podRecord{}, err
	}
	if _, ok := stateNamed(podStateNames, r.State); !ok {
		return podRecord{}, fmt.Errorf("state %q is not known", r.State)
	}
	if !validID(r.ID) {
		return podRecord{}, fmt.Errorf("id %q is not one of ours", r.ID)
	}
	if r.VM != nil && (!validID(r.VM.ID) || r.VM.ID == r.ID) {
		return podRecord{}, fmt.Errorf("id %q of its VM is not one of ours", r.VM.ID)
	}
	return r, nil
}

// decodeContainerRecord is decodePodRecord for containers.
func decodeContainerRecord(data []byte) (containerRecord, error) {
	var r containerRecord
	if err := decodeRecord(data, &r); err != nil {
		return containerRecord{}, err
	}
	if _, ok := stateNamed(containerStateNames, r.State); !ok {
		return containerRecord{}, fmt.Errorf("state %q is not known", r.State)
	}
	if !validID(r.ID) || !validID(r.PodID) {
		return containerRecord{}, fmt.Errorf("id %q of pod %q is not one of ours", r.ID, r.PodID)
	}
	if _, err := parseSignal(r.StopSignal); err != nil {
		return containerRecord{}, err
	}
	return r, nil
}

// decodeRecord checks the version before it looks at anything else.
func decodeRecord(data []byte, into any) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	if head.Version > recordVersion {
		return fmt.Errorf("%w: %d, this build reads up to %d", errNewerRecord, head.Version, recordVersion)
	}
	if head.Version < 1 {
		return fmt.Errorf("version %d is not known", head.Version)
	}
	return json.Unmarshal(data, into)
}

// store is the folder of records. Methods are safe for concurrent use for different
// objects; callers keep writes of one object in order.
type store struct {
	root  string
	write func(path string, data []byte, perm fs.FileMode) error // atomicfile.Write, but in tests
}

func openStore(root string) (*store, error) {
	if err := makeFolder(root); err != nil {
		return nil, fmt.Errorf("make folder of records: %w", err)
	}
	return &store{root: root, write: atomicfile.Write}, nil
}

func (s *store) podDir(podID string) string      { return filepath.Join(s.root, podID) }
func (s *store) scratchPath(podID string) string { return filepath.Join(s.podDir(podID), scratchFile) }

func (s *store) containerPath(podID, id string) string {
	return filepath.Join(s.podDir(podID), id+containerSuffix)
}

// makePodDir makes the pod's folder. Others may pass through it, as the VM, which
// runs as another user, opens the scratch disk in it; they may not list it.
func (s *store) makePodDir(podID string) error {
	return makeFolder(s.podDir(podID))
}

// makeFolder makes a folder to pass through, whatever the process's umask is.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	return os.Chmod(dir, folderMode)
}

func (s *store) savePod(r podRecord) error {
	r.Version = recordVersion
	return s.save(filepath.Join(s.podDir(r.ID), podFile), r)
}

func (s *store) saveContainer(r containerRecord) error {
	r.Version = recordVersion
	return s.save(s.containerPath(r.PodID, r.ID), r)
}

func (s *store) save(path string, r any) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	// Environments hold secrets: for the daemon's user alone.
	return s.write(path, append(data, '\n'), 0o600)
}

func (s *store) removeContainer(podID, id string) error {
	err := os.Remove(s.containerPath(podID, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removePod removes the pod's folder. The record goes last, so that a removal that is
// cut short is found and finished at the next start.
func (s *store) removePod(podID string) error {
	dir := s.podDir(podID)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == podFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// stored is what load found for one pod.
type stored struct {
	pod        podRecord
	containers []containerRecord
	broken     []brokenRecord
}

// brokenRecord is a file that is not a record, now moved to the quarantine.
type brokenRecord struct {
	podID, containerID string // containerID is empty for a pod
	movedTo            string
	cause              error
}

// load reads all records. A record of a newer version ends it with an error: a build that cannot read a
// pod must not touch it.
func (s *store) load() (pods []stored, broken []brokenRecord, err error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, nil, fmt.Errorf("read folder of records: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !validID(e.Name()) {
			continue
		}
		p, err := s.loadPod(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			// The record is what is written first and removed last: there is nothing else.
			if err := os.RemoveAll(s.podDir(e.Name())); err != nil {
				return nil, nil, fmt.Errorf("remove empty folder: %w", err)
			}
			continue
		}
		if errors.Is(err, errNewerRecord) {
			return nil, nil, fmt.Errorf("%s: %w: start the newer build again, or drain the node first", s.podDir(e.Name()), err)
		}
		if err != nil {
			moved, merr := s.quarantine(s.podDir(e.Name()))
			if merr != nil {
				return nil, nil, errors.Join(fmt.Errorf("read record of pod %s: %w", e.Name(), err), merr)
			}
			broken = append(broken, brokenRecord{podID: e.Name(), movedTo: moved, cause: err})
			continue
		}
		broken = append(broken, p.broken...)
		pods = append(pods, p)
	}
	return pods, broken, nil
}

func (s *store) loadPod(id string) (stored, error) {
	dir := s.podDir(id)
	data, err := os.ReadFile(filepath.Join(dir, podFile))
	if err != nil {
		return stored{}, err
	}
	var p stored
	if p.pod, err = decodePodRecord(data); err != nil {
		return stored{}, err
	}
	if p.pod.ID != id {
		return stored{}, fmt.Errorf("it is the record of %s", p.pod.ID)
	}
	if err := atomicfile.Clean(dir); err != nil {
		return stored{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return stored{}, err
	}
	for _, e := range entries {
		containerID, ok := strings.CutSuffix(e.Name(), containerSuffix)
		if !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		r, err := readContainer(path, id, containerID)
		if errors.Is(err, errNewerRecord) {
			return stored{}, err
		}
		if err != nil {
			moved, merr := s.quarantine(path)
			if merr != nil {
				return stored{}, errors.Join(err, merr)
			}
			p.broken = append(p.broken, brokenRecord{podID: id, containerID: containerID, movedTo: moved, cause: err})
			continue
		}
		p.containers = append(p.containers, r)
	}
	return p, nil
}

func readContainer(path, podID, id string) (containerRecord, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return containerRecord{}, err
	}
	r, err := decodeContainerRecord(data)
	if err != nil {
		return containerRecord{}, err
	}
	if r.PodID != podID || r.ID != id {
		return containerRecord{}, fmt.Errorf("it is the record of %s in pod %s", r.ID, r.PodID)
	}
	return r, nil
}

// quarantine moves a file or folder out of the way, for somebody to look at.
func (s *store) quarantine(path string) (string, error) {
	dir := filepath.Join(s.root, quarantineDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("quarantine %s: %w", path, err)
	}
	for n := 0; ; n++ {
		to := filepath.Join(dir, filepath.Base(path))
		if n > 0 {
			to += "." + strconv.Itoa(n)
		}
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.Rename(path, to); err != nil {
			return "", fmt.Errorf("quarantine %s: %w", path, err)
		}
		return to, nil
	}
}
