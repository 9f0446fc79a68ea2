package hcsfake

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
)

// savedState is the kind of a file that holds a saved VM.
const savedState = "state of a VM"

// savedVM is what such a file holds. A VM is made of it with the same disks only.
type savedVM struct {
	Kind   string   `json:"kind"`
	Memory int64    `json:"memory"`
	Disks  []string `json:"disks"` // where they are, as in system.disks, in order
}

// restored is what a VM is made of that was saved; the zero value when it is to boot.
func (s *Service) restored(doc map[string]any, id string) (state savedVM, _ *failure) {
	p, ok := at(doc, "VirtualMachine", "RestoreState", "SaveStateFilePath").(string)
	if !ok {
		return state, nil
	}
	if f := s.readable(p, id); f != nil {
		return state, f
	}
	b, err := os.ReadFile(s.local(p))
	if err == nil {
		err = json.Unmarshal(b, &state)
	}
	if err != nil || state.Kind != savedState {
		return state, &failure{hcs.Fail, fmt.Sprintf("'%s' holds no saved state", p)}
	}
	if disks := attachedIn(doc); !slices.Equal(disks, state.Disks) {
		return state, &failure{hcs.Fail, fmt.Sprintf("the VM was saved with disks at %v and is to have them at %v", state.Disks, disks)}
	}
	return state, nil
}

// attachments calls f for each disk of a document.
func attachments(doc map[string]any, f func(key string, settings map[string]any)) {
	scsi, _ := at(doc, "VirtualMachine", "Devices", "Scsi").(map[string]any)
	for controller, c := range scsi {
		all, _ := at(c, "Attachments").(map[string]any)
		for lun, settings := range all {
			f(controller+":"+lun, settings.(map[string]any))
		}
	}
}

// attachedIn lists the disks of a document, in order.
func attachedIn(doc map[string]any) []string {
	var out []string
	attachments(doc, func(key string, _ map[string]any) { out = append(out, key) })
	slices.SortFunc(out, strings.Compare)
	return out
}

// attachAll gives a new VM the disks of its document.
func (s *Service) attachAll(y *system) (failed *failure) {
	attachments(y.doc, func(key string, settings map[string]any) {
		d, f := s.openDisk(y, settings)
		if f != nil {
			failed = f
			return
		}
		y.disks[key] = d
	})
	return failed
}

// Count is a guest that counts in its memory.
func (v *VM) Count() int64 {
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	v.system.word++
	return v.system.word
}
