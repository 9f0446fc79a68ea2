package hcs

import (
	"encoding/json"
	"fmt"
	"strings"
)

// EventType is what an event is about (HCS_EVENT_TYPE).
type EventType uint32

// The events that Porthole acts on.
const (
	SystemExited         EventType = 0x00000001
	SystemCrashInitiated EventType = 0x00000002
	SystemCrashReport    EventType = 0x00000003
	ServiceDisconnected  EventType = 0x02000000
)

// Event is something that happened to a compute system.
type Event struct {
	Type EventType
	Data string // a document, of which the form depends on Type
}

// ExitStatus is the data of SystemExited.
type ExitStatus struct {
	Status   int32  `json:"Status"` // an HRESULT
	ExitType string `json:"ExitType"`
}

// Exit reads the data of SystemExited; what it cannot read is zero.
func (e Event) Exit() ExitStatus {
	var s ExitStatus
	if json.Unmarshal([]byte(e.Data), &s) != nil {
		return ExitStatus{}
	}
	return s
}

// Code is the status as a code.
func (s ExitStatus) Code() HRESULT { return HRESULT(uint32(s.Status)) }

// CrashLog reads the data of SystemCrashReport: the text of the guest's panic, which is
// the guest's to choose. A guest that gave none, as one may that has no memory to spare for it, has given
// numbers in the registers for crashes: "parameters 0x1 0x2". Empty when there is neither.
func (e Event) CrashLog() string {
	var r struct {
		CrashLog        string   `json:"CrashLog"`
		CrashParameters []uint64 `json:"CrashParameters"`
	}
	if json.Unmarshal([]byte(e.Data), &r) != nil {
		return ""
	}
	if r.CrashLog != "" || len(r.CrashParameters) == 0 {
		return r.CrashLog
	}
	var b strings.Builder
	b.WriteString("parameters")
	for _, p := range r.CrashParameters[:min(len(r.CrashParameters), maxCrashParameters)] {
		fmt.Fprintf(&b, " %#x", p)
	}
	return b.String()
}

// maxCrashParameters is how many registers Hyper-V has for them (HV_X64_MSR_CRASH_P0 to P4).
const maxCrashParameters = 5
