package hcsfake

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
)

// Call implements hcs.Library.
func (s *Service) Call(v hcs.Verb, h hcs.SystemHandle, o hcs.Operation, document string) hcs.HRESULT {
	s.mu.Lock()
	hd := s.handles[h]
	if hd == nil || hd.system == nil {
		s.note("%s on a closed handle", v)
		s.mu.Unlock()
		return hcs.InvalidArgument
	}
	y := hd.system
	s.mu.Unlock()
	do := map[hcs.Verb]func(*system, string) (string, *failure){
		hcs.Start: s.start, hcs.Terminate: s.terminate, hcs.Modify: s.modify, hcs.GetProperties: s.properties,
		hcs.Pause: s.pause, hcs.Resume: s.resume, hcs.Save: s.save,
	}[v]
	return s.run(v.String(), o, h, func() (string, *failure) { return do(y, document) })
}

// wrongState is a call that a system in its state does not take.
func wrongState(y *system) *failure {
	if y.state == "Stopped" {
		return &failure{hcs.SystemAlreadyStopped, "the system has stopped"}
	}
	return &failure{hcs.InvalidState, "the system is " + y.state}
}

func (s *Service) start(y *system, _ string) (string, *failure) {
	if y.state != "Created" {
		return "", wrongState(y)
	}
	y.state = "Starting"
	vm := &VM{service: s, system: y}
	if f := s.work(func() error { return s.machine.Start(vm) }); f != nil {
		s.end(y, "UnexpectedExit")
		return "", f
	}
	for key, d := range maps.Clone(y.disks) { // those of the document
		controller, lun, _ := strings.Cut(key, ":")
		if f := s.work(func() error { return s.machine.Attach(y.id, controller, lun, s.local(d.path), d.readOnly) }); f != nil {
			s.halt(y)
			s.end(y, "UnexpectedExit")
			return "", f
		}
	}
	if y.state != "Starting" { // it was ended meanwhile, perhaps before its machine was there
		s.halt(y)
		return "", wrongState(y)
	}
	y.state = "Running"
	if s.onStart != nil {
		s.wg.Go(func() { s.onStart(vm) })
	}
	return "", nil
}

func (s *Service) terminate(y *system, _ string) (string, *failure) {
	if y.state == "Stopped" {
		return "", wrongState(y)
	}
	s.stop(y)
	s.end(y, "ForcedExit")
	return "", nil
}

func (s *Service) pause(y *system, _ string) (string, *failure) {
	if y.state != "Running" {
		return "", wrongState(y)
	}
	if f := s.work(func() error { return s.machine.Pause(y.id, true) }); f != nil {
		return "", f
	}
	if y.state != "Running" { // it ended meanwhile
		return "", wrongState(y)
	}
	y.state = "Paused"
	return "", nil
}

func (s *Service) resume(y *system, _ string) (string, *failure) {
	if y.state != "Paused" {
		return "", wrongState(y)
	}
	if f := s.work(func() error { return s.machine.Pause(y.id, false) }); f != nil {
		return "", f
	}
	if y.state != "Paused" {
		return "", wrongState(y)
	}
	y.state = "Running"
	return "", nil
}

func (s *Service) save(y *system, document string) (string, *failure) {
	v, err := parse(document)
	if err == nil {
		err = obj(map[string]check{"SaveType": enum("ToFile"), "SaveStateFilePath": text}, "SaveType", "SaveStateFilePath")("SaveOptions", v)
	}
	if err != nil {
		return "", &failure{hcs.InvalidJSON, err.Error()}
	}
	if y.state != "Paused" {
		return "", wrongState(y)
	}
	if !s.saves {
		return "", &failure{hcs.NotImplemented, "what the machine holds cannot be saved"}
	}
	path := at(v, "SaveStateFilePath").(string)
	if f := s.readable(path, y.id); f != nil {
		return "", f
	}
	b, _ := json.Marshal(savedVM{Kind: savedState, Memory: y.word, Disks: slices.Sorted(maps.Keys(y.disks))})
	if err := os.WriteFile(s.local(path), b, 0o600); err != nil {
		return "", &failure{hcs.DiskFull, err.Error()}
	}
	return "", nil
}

func (s *Service) properties(y *system, query string) (string, *failure) {
	if query != "" {
		return "", &failure{hcs.InvalidJSON, "the fake knows the basic properties only"}
	}
	return s.describe(y), nil
}

func (s *Service) describe(y *system) string {
	b, _ := json.Marshal(map[string]any{
		"Id": y.id, "SystemType": "VirtualMachine", "Owner": y.doc["Owner"], "RuntimeId": strings.ToUpper(y.id), // GUIDs have no case
		"State": y.state, "Stopped": y.state == "Stopped", "ExitType": y.exit,
	})
	return string(b)
}

// Enumerate implements hcs.Library.
func (s *Service) Enumerate(query string, o hcs.Operation) hcs.HRESULT {
	return s.run("HcsEnumerateComputeSystems", o, 0, func() (string, *failure) {
		list := func(path string, v any) error {
			if _, ok := v.([]any); !ok {
				return fmt.Errorf("%s is not a list", path)
			}
			return nil
		}
		v, err := parse(query)
		if err == nil {
			err = obj(map[string]check{"Ids": list, "Names": list, "Types": list, "Owners": list})("SystemQuery", v)
		}
		if err != nil {
			return "", &failure{hcs.InvalidJSON, err.Error()}
		}
		owners, _ := at(v, "Owners").([]any)
		var all []string
		for _, id := range slices.Sorted(maps.Keys(s.systems)) {
			if y := s.systems[id]; owners == nil || slices.Contains(owners, y.doc["Owner"]) {
				all = append(all, s.describe(y))
			}
		}
		return "[" + strings.Join(all, ",") + "]", nil
	})
}

func (s *Service) modify(y *system, document string) (string, *failure) {
	q, err := parseRequest(document)
	if err != nil {
		return "", &failure{hcs.InvalidJSON, err.Error()}
	}
	if y.state != "Running" && y.state != "Paused" {
		return "", wrongState(y)
	}
	switch q.kind {
	case "disk":
		return "", s.modifyDisk(y, q)
	case "nic":
		return "", s.modifyNIC(y, q)
	case "memory":
		size := q.settings.(json.Number)
		if f := s.work(func() error { return s.machine.SetMemory(y.id, size.String()) }); f != nil {
			return "", f
		}
		y.memory = size
	case "limits":
		y.limits = q.settings.(map[string]any)
	}
	return "", nil
}

func (s *Service) modifyDisk(y *system, q request) *failure {
	controller, lun := q.args[0], q.args[1]
	scsi, _ := at(y.doc, "VirtualMachine", "Devices", "Scsi").(map[string]any)
	if _, ok := scsi[controller]; !ok || !isLUN(lun) {
		return &failure{hcs.ElementNotFound, fmt.Sprintf("no LUN %s of a controller %s", lun, controller)}
	}
	key := controller + ":" + lun
	_, used := y.disks[key]
	if q.verb == "Remove" {
		if !used {
			return &failure{hcs.ElementNotFound, "no disk at " + key}
		}
		if f := s.work(func() error { return s.machine.Detach(y.id, controller, lun) }); f != nil {
			return f
		}
		delete(y.disks, key)
		return nil
	}
	if used {
		return &failure{hcs.AlreadyExists, "a disk is at " + key}
	}
	m := q.settings.(map[string]any)
	d, f := s.openDisk(y, m)
	if f != nil {
		return f
	}
	y.disks[key] = d
	f = s.work(func() error { return s.machine.Attach(y.id, controller, lun, s.local(d.path), d.readOnly) })
	if f != nil {
		delete(y.disks, key)
	}
	return f
}

// openDisk is a disk that a VM is given.
func (s *Service) openDisk(y *system, m map[string]any) (disk, *failure) {
	d := disk{path: m["Path"].(string), readOnly: m["ReadOnly"] == true}
	if ext := filepath.Ext(d.path); ext != ".vhd" && ext != ".vhdx" {
		return d, &failure{hcs.VHDFormatUnknown, fmt.Sprintf("'%s' is not the name of a virtual disk", d.path)}
	}
	if f := s.readable(d.path, y.id); f != nil {
		return d, f
	}
	if !d.readOnly && !s.access[s.local(d.path)][y.id] {
		return d, &failure{hcs.GeneralAccessDenied, fmt.Sprintf("the VM's account lacks the access to write '%s'", d.path)}
	}
	for _, other := range s.systems {
		for _, o := range other.disks {
			if s.local(o.path) == s.local(d.path) && (!o.readOnly || !d.readOnly) {
				return d, &failure{hcs.SharingViolation, fmt.Sprintf("'%s' is in use", d.path)}
			}
		}
	}
	return d, nil
}

func (s *Service) modifyNIC(y *system, q request) *failure {
	id := q.args[0]
	if !isGUID(id) {
		return &failure{hcs.InvalidArgument, "a NIC is named by a GUID"}
	}
	_, used := y.nics[id]
	switch q.verb {
	case "Add":
		if used {
			return &failure{hcs.AlreadyExists, "the NIC is there"}
		}
		for _, other := range s.systems {
			for _, n := range other.nics {
				if n["EndpointId"] == at(q.settings, "EndpointId") {
					return &failure{hcs.SharingViolation, "the endpoint is attached"}
				}
			}
		}
		settings := q.settings.(map[string]any)
		y.nics[id] = settings
		if f := s.work(func() error {
			return s.machine.Plug(y.id, id, settings["EndpointId"].(string), settings["MacAddress"].(string))
		}); f != nil {
			delete(y.nics, id)
			return f
		}
	default:
		if !used {
			return &failure{hcs.ElementNotFound, "no such NIC"}
		}
		if q.verb == "Remove" {
			if f := s.work(func() error { return s.machine.Unplug(y.id, id) }); f != nil {
				return f
			}
			delete(y.nics, id)
		}
	}
	return nil
}
