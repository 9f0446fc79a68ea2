package hcnnet

import (
	"maps"
	"slices"
)

// Known are the codes of HNS that Porthole knows the meaning of, in order. Codes of Windows
// itself are without their facility, as Error has them.
func Known() []uint32 { return slices.Sorted(maps.Keys(known)) }

// Explain says what a code of HNS means and what to do about it; either may be empty.
func Explain(code uint32) (meaning, advice string) {
	m := known[plain(code)]
	return m.text, m.advice
}
