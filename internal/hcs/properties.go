package hcs

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
)

// Properties are what HCS tells of a compute system.
type Properties struct {
	ID         string `json:"Id"`
	SystemType string `json:"SystemType"`
	Owner      string `json:"Owner"`
	RuntimeID  string `json:"RuntimeId"` // the VM's GUID: the address of its sockets
	State      string `json:"State"`     // Created, Running, Paused, Stopped, SavedAsTemplate, Unknown
	Stopped    bool   `json:"Stopped"`
	ExitType   string `json:"ExitType"`
}

// systemQuery selects compute systems.
type systemQuery struct {
	Types  []string `json:"Types,omitempty"`
	Owners []string `json:"Owners,omitempty"`
}

// serviceQuery asks HCS of itself.
type serviceQuery struct {
	PropertyTypes []string `json:"PropertyTypes"`
}

// serviceProperties answers a serviceQuery, one element for each type.
type serviceProperties struct {
	Properties []struct {
		SupportedSchemaVersions []Version `json:"SupportedSchemaVersions"`
	} `json:"Properties"`
}

// decode reads what HCS answered to a call.
func decode(op, id, document string, v any) error {
	if err := json.Unmarshal([]byte(document), v); err != nil {
		return fmt.Errorf("%s %s: answer %q: %w: %w", op, id, oneLine(document, 80), errdefs.ErrInternal, err)
	}
	return nil
}
