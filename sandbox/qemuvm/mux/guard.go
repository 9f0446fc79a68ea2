package mux

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The parts of yamux's frame header (its spec.md) that the guard looks at.
const (
	headerSize = 12

	typeData   = 0
	typeWindow = 1
	typePing   = 2
	typeGoAway = 3

	flagSYN = 1
)

// guard is a Reader of the guest's frames that refuses those no agent sends. yamux
// alone would keep up to 1024 streams that the guest opened, each with a window of
// 256 KiB, and start a goroutine for each ping.
type guard struct {
	r    io.Reader
	head [headerSize]byte
	have int    // bytes of head that were read
	give int    // bytes of head that were passed on
	body uint32 // bytes of the frame's body still to pass on
	err  error  // once set, stays
}

func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if g.have == headerSize && g.give == headerSize {
		if g.body > 0 {
			if uint64(len(p)) > uint64(g.body) {
				p = p[:g.body]
			}
			n, err := g.r.Read(p)
			g.body -= uint32(n)
			g.err = err
			return n, err
		}
		g.have, g.give = 0, 0
	}
	for g.have < headerSize {
		n, err := g.r.Read(g.head[g.have:])
		g.have += n
		if err != nil && g.have < headerSize {
			g.err = err
			return 0, err
		}
	}
	if g.give == 0 {
		if g.err = g.check(); g.err != nil {
			return 0, g.err
		}
	}
	n := copy(p, g.head[g.give:])
	g.give += n
	return n, nil
}

// check judges a whole header and notes the length of what follows it.
func (g *guard) check() error {
	kind, flags := g.head[1], binary.BigEndian.Uint16(g.head[2:])
	switch {
	case g.head[0] != 0:
		return fmt.Errorf("mux frame of version %d", g.head[0])
	case kind > typeGoAway:
		return fmt.Errorf("mux frame of type %d", kind)
	case kind == typePing && flags&flagSYN != 0:
		return fmt.Errorf("guest sent a mux ping")
	case kind <= typeWindow && flags&flagSYN != 0:
		return fmt.Errorf("guest opened a mux stream")
	}
	g.body = 0
	if kind == typeData {
		g.body = binary.BigEndian.Uint32(g.head[8:])
	}
	return nil
}
