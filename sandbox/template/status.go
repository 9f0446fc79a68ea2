package template

import (
	"cmp"
	"slices"
	"time"
)

// Counts are how VMs have started since the Keeper was made.
type Counts struct {
	Clones    uint64 `json:"clones"`    // from a template
	Boots     uint64 `json:"boots"`     // as there was no template
	Fallbacks uint64 `json:"fallbacks"` // they booted, as their template did not work
}

// ClassStatus is one class as verbose status shows it.
type ClassStatus struct {
	Class
	State    string    `json:"state"` // ready, waiting (to be made or being made) or failed
	Template string    `json:"template,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"` // of memory that it holds
	Made     time.Time `json:"made,omitzero"`
	Error    string    `json:"error,omitempty"` // the last failure
}

// States of a class.
const (
	Ready   = "ready"
	Waiting = "waiting"
	Failed  = "failed"
)

// Status is what a Keeper has.
type Status struct {
	Inputs  string        `json:"inputs"` // digest of what templates are made from
	Classes []ClassStatus `json:"classes"`
	Counts  Counts        `json:"counts"`
}

// Status tells what there is, smallest class first.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Inputs: k.inputs.digest, Counts: k.counts, Classes: []ClassStatus{}}
	for c, is := range k.classes {
		out := ClassStatus{Class: c, State: Waiting}
		if is.err != nil {
			out.Error = is.err.Error()
		}
		switch {
		case is.built != nil:
			out.State, out.Template, out.Bytes, out.Made = Ready, is.built.id, is.built.bytes, is.built.at
		case is.err != nil && !is.retry.IsZero():
			out.State = Failed
		}
		s.Classes = append(s.Classes, out)
	}
	slices.SortFunc(s.Classes, func(a, b ClassStatus) int {
		return cmp.Or(smallestFirst(a.Class, b.Class), cmp.Compare(a.State, b.State))
	})
	return s
}
