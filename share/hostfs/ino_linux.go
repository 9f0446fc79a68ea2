package hostfs

import "sync"

// An inoTable gives inode numbers that are unique over the devices of a share. The
// root's own stay as they are, others have their device's index in the upper 16 bits;
// numbers that need those bits themselves are hashed, with the highest bit set.
type inoTable struct {
	root uint64 // immutable after Open

	mu    sync.Mutex
	index map[uint64]uint64 // from 1 on, by device
}

const inoBits = 48

func (t *inoTable) ino(dev, ino uint64) uint64 {
	var i uint64
	if dev != t.root {
		t.mu.Lock()
		defer t.mu.Unlock()
		if i = t.index[dev]; i == 0 {
			if t.index == nil {
				t.index = map[uint64]uint64{}
			}
			i = uint64(len(t.index)) + 1
			t.index[dev] = i
		}
	}
	if ino>>inoBits != 0 || i >= 1<<15 {
		return 1<<63 | mix(mix(dev)^ino)
	}
	return i<<inoBits | ino
}

// mix spreads a number over 64 bits, always in the same way (the finaliser of
// SplitMix64): a file keeps its number when the server starts anew.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
