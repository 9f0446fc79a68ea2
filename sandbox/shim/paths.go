package shim

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// folder is a shim's folder: StateDir/<id>, mode 0700.
type folder string

func (f folder) config() string  { return filepath.Join(string(f), "shim.json") }
func (f folder) process() string { return filepath.Join(string(f), "process.json") }
func (f folder) exit() string    { return filepath.Join(string(f), "exit.json") }
func (f folder) log() string     { return filepath.Join(string(f), "shim.log") }
func (f folder) vm() string      { return filepath.Join(string(f), "vm") }
func (f folder) control() string { return filepath.Join(string(f), "c.sock") }
func (f folder) streams() string { return filepath.Join(string(f), "s.sock") }

var dirName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

func checkDirName(id string) error {
	if !dirName.MatchString(id) {
		return fmt.Errorf("id %.140q cannot name a folder: %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// exitRecord is exit.json: why a shim ended.
type exitRecord struct {
	Error string     `json:"error"` // empty: it was asked to
	Code  codes.Code `json:"code"`  // the error's kind
}

func newExitRecord(reason error) exitRecord {
	if reason == nil {
		return exitRecord{}
	}
	s := status.Convert(toStatus(reason))
	return exitRecord{Error: s.Message(), Code: s.Code()}
}

// reason returns why the folder's shim ended, nil when it was asked to. A shim that left
// no word died unexpectedly: the end of its log has to do.
func (f folder) reason() error {
	var r exitRecord
	b, err := readBounded(f.exit(), maxConfigBytes)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	switch {
	case err != nil:
		return f.diedUnexpectedly()
	case r.Error == "":
		return nil
	default:
		return fromStatus(status.Error(r.Code, r.Error))
	}
}

// processRecord is process.json: which processes belong to a folder. A process is
// identified by its start time too, since numbers are given out again.
type processRecord struct {
	Shim processID `json:"shim"`
	VM   processID `json:"vm"` // zero until the VM runs, and when the driver has no process
}
