package hcs

import (
	"maps"
	"slices"
)

// Known are the codes that Porthole knows the meaning of, in order.
func Known() []HRESULT { return slices.Sorted(maps.Keys(conditions)) }

// Known tells whether the code's meaning is known, in either family.
func (h HRESULT) Known() bool {
	_, ok := conditions[h.canonical()]
	return ok
}
