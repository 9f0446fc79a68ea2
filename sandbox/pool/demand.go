package pool

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// memory is how long demand is remembered.
	memory = 10 * time.Minute
	// burst is the time within which pods count as asked for at once: about what it takes
	// to make a spare for each anew.
	burst = 5 * time.Second
	// maxAsked bounds what is remembered of one class.
	maxAsked = 1024
)

// demand is when VMs of each class were asked for.
type demand struct{ asked map[Class][]time.Time }

func (d *demand) add(c Class, now time.Time) {
	if d.asked == nil {
		d.asked = map[Class][]time.Time{}
	}
	list := append(d.asked[c], now)
	if len(list) > maxAsked {
		list = slices.Clone(list[len(list)-maxAsked:])
	}
	d.asked[c] = list
}

// peaks is how many VMs of each class were asked for at once, of late, at the most.
func (d *demand) peaks(now time.Time) map[Class]int {
	out := map[Class]int{}
	for c, list := range d.asked {
		list = slices.DeleteFunc(list, func(t time.Time) bool { return now.Sub(t) > memory })
		if len(list) == 0 {
			delete(d.asked, c)
			continue
		}
		d.asked[c] = list
		first := 0
		for last, t := range list {
			for t.Sub(list[first]) > burst {
				first++
			}
			out[c] = max(out[c], last-first+1)
		}
	}
	return out
}

// sortedClasses are the classes of a map, the smallest first.
func sortedClasses(m map[Class]int) []Class {
	return slices.SortedFunc(maps.Keys(m), func(a, b Class) int {
		return cmp.Or(cmp.Compare(a.MemoryMiB, b.MemoryMiB), cmp.Compare(a.VCPUs, b.VCPUs))
	})
}
