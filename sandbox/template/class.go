package template

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// Class is a size of VM. It is a ceiling: a smaller pod fits in.
type Class struct {
	VCPUs     int `json:"vcpus"`
	MemoryMiB int `json:"memoryMiB"`
}

func (c Class) String() string { return fmt.Sprintf("%d CPU, %d MiB", c.VCPUs, c.MemoryMiB) }

// Size is what is asked for: a VM of at least Class, and of at most Max where that has a
// bound; 0: none.
type Size struct {
	Class
	Max Class
}

// holds tells whether a VM of class c is one for s. One more than twice as large would
// show a pod a machine that it was not meant to have.
func (s Size) holds(c Class) bool {
	in := func(want, has, bound int) bool {
		return has >= want && has <= 2*want && (bound == 0 || has <= bound || has == want)
	}
	return in(s.VCPUs, c.VCPUs, s.Max.VCPUs) && in(s.MemoryMiB, c.MemoryMiB, s.Max.MemoryMiB)
}

// class is the class to keep for VMs of size s: powers of two, so that there are few.
func (s Size) class() Class {
	up := func(want, bound int) int {
		c := 1 << bits.Len(uint(want-1))
		if bound > 0 {
			c = max(want, min(c, bound))
		}
		return c
	}
	return Class{VCPUs: up(s.VCPUs, s.Max.VCPUs), MemoryMiB: up(s.MemoryMiB, s.Max.MemoryMiB)}
}

// smallestFirst orders classes by what they cost.
func smallestFirst(a, b Class) int {
	return cmp.Or(cmp.Compare(a.MemoryMiB, b.MemoryMiB), cmp.Compare(a.VCPUs, b.VCPUs))
}

// distinct returns the classes without those that occur twice, smallest first.
func distinct(classes []Class) []Class {
	out := slices.Clone(classes)
	slices.SortFunc(out, smallestFirst)
	return slices.Compact(out)
}
