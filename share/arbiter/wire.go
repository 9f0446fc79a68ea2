package arbiter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/porthole-run/porthole/share"
)

// A frame is the length of what follows (4 bytes), the kind (1 byte) and its fields.
// Integers are little endian; lists and strings begin with a count of 2 bytes.
const (
	version    = 2
	maxFrame   = 512 << 10
	maxChain   = 1024
	maxChanges = 1024
	maxName    = 255
)

type kind uint8

const (
	// To the arbiter. Those with a req are answered by a kindReply; a cancel has the req
	// of the lock that it is about.
	kindHello    kind = iota + 1 // version, client, instance: the arbiter of before; 0
	kindJoin                     // req, member, flag: again; chain
	kindLeave                    // req, member
	kindSet                      // req, member, flag: wait; file, lock
	kindClaim                    // member, file, lock
	kindClaimed                  // all claims have been made
	kindCancel                   // req
	kindGet                      // req, member, file, lock
	kindDrop                     // req, member, file, lock: owner and kind
	kindAnnounce                 // req, member, changes
	kindConfirm                  // req: of the changes or the shared; member
	kindPing                     // is answered whatever else is asked
	// From it.
	kindWelcome // version, instance, flag: too late for claims
	kindReply   // req, errno, flag: a lock was found, or shared; lock
	kindRefused // member: a claim could not be met
	kindShared  // req, member, flag: whether others have its files
	kindChanges // req, member, changes
)

// message is any of them; those fields count that the kind has.
type message struct {
	kind     kind
	version  uint32
	client   uint64
	instance uint64
	req      uint64
	member   uint32
	errno    uint32
	flag     bool
	file     share.FileID
	lock     share.Lock
	chain    []share.FileID
	changes  []share.Change
}

// fields passes the fields of the message's kind through c, either way.
func (m *message) fields(c *codec) {
	switch m.kind {
	case kindHello, kindWelcome:
		c.u32(&m.version)
		c.u64(&m.client)
		c.u64(&m.instance)
		c.flag(&m.flag)
	case kindJoin:
		c.call(m)
		c.flag(&m.flag)
		list(c, &m.chain, maxChain, c.file)
	case kindLeave, kindConfirm:
		c.call(m)
	case kindSet, kindGet, kindDrop, kindClaim:
		c.call(m)
		c.flag(&m.flag)
		c.file(&m.file)
		c.lock(&m.lock)
	case kindClaimed, kindPing:
	case kindCancel:
		c.u64(&m.req)
	case kindAnnounce, kindChanges:
		c.call(m)
		list(c, &m.changes, maxChanges, c.change)
	case kindReply:
		c.u64(&m.req)
		c.u32(&m.errno)
		c.flag(&m.flag)
		c.lock(&m.lock)
	case kindRefused:
		c.u32(&m.member)
	case kindShared:
		c.call(m)
		c.flag(&m.flag)
	default:
		c.fail(fmt.Errorf("message of kind %d", m.kind))
	}
}

// codec writes to b, or reads from it.
type codec struct {
	b       []byte
	reading bool
	err     error
}

func (c *codec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

var errShort = errors.New("message is too short")

// bytes returns the next n bytes to read, else room for n more.
func (c *codec) bytes(n int) []byte {
	if !c.reading {
		c.b = append(c.b, make([]byte, n)...)
		return c.b[len(c.b)-n:]
	}
	if c.err != nil || len(c.b) < n {
		c.fail(errShort)
		return make([]byte, n)
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *codec) u64(v *uint64) {
	if b := c.bytes(8); c.reading {
		*v = binary.LittleEndian.Uint64(b)
	} else {
		binary.LittleEndian.PutUint64(b, *v)
	}
}

func (c *codec) i64(v *int64) {
	u := uint64(*v)
	c.u64(&u)
	*v = int64(u)
}

func (c *codec) u32(v *uint32) {
	if b := c.bytes(4); c.reading {
		*v = binary.LittleEndian.Uint32(b)
	} else {
		binary.LittleEndian.PutUint32(b, *v)
	}
}

func (c *codec) count(n, most int) int {
	b := c.bytes(2)
	if c.reading {
		n = int(binary.LittleEndian.Uint16(b))
	}
	if n > most {
		c.fail(fmt.Errorf("%d entries, at most %d", n, most))
		return 0
	}
	if !c.reading {
		binary.LittleEndian.PutUint16(b, uint16(n))
	}
	return n
}

func (c *codec) flag(v *bool) {
	b := c.bytes(1)
	if c.reading {
		if b[0] > 1 {
			c.fail(fmt.Errorf("flag is %d", b[0]))
		}
		*v = b[0] == 1
	} else if *v {
		b[0] = 1
	}
}

func (c *codec) text(v *string) {
	n := c.count(len(*v), maxName)
	if b := c.bytes(n); c.reading {
		*v = string(b)
	} else {
		copy(b, *v)
	}
}

func (c *codec) call(m *message) {
	c.u64(&m.req)
	c.u32(&m.member)
}

func (c *codec) file(f *share.FileID) {
	c.u64(&f.Volume)
	c.u64(&f.File)
	c.u64(&f.High)
	c.i64(&f.Birth)
}

func (c *codec) lock(l *share.Lock) {
	k := uint32(l.Kind)
	c.u32(&k)
	if k > uint32(share.LockMapping) {
		c.fail(fmt.Errorf("lock of kind %d", k))
	}
	l.Kind = share.LockKind(k)
	c.u64(&l.Owner)
	c.u32(&l.Type)
	c.u64(&l.Start)
	c.u64(&l.End)
	c.u32(&l.PID)
}

func (c *codec) change(ch *share.Change) {
	c.file(&ch.File)
	c.i64(&ch.Off)
	c.i64(&ch.Len)
	c.file(&ch.Dir)
	c.text(&ch.Name)
}

func list[T any](c *codec, v *[]T, most int, each func(*T)) {
	n := c.count(len(*v), most)
	if c.reading && c.err == nil {
		*v = make([]T, n)
	}
	for i := range *v {
		if c.err == nil {
			each(&(*v)[i])
		}
	}
}

// encode appends m's frame. The caller has kept to the bounds.
func encode(b []byte, m *message) ([]byte, error) {
	c := &codec{b: append(b, 0, 0, 0, 0, byte(m.kind))}
	m.fields(c)
	n := len(c.b) - len(b) - 4
	if n > maxFrame {
		c.fail(fmt.Errorf("frame of %d bytes, at most %d", n, maxFrame))
	}
	if c.err != nil {
		return b, c.err
	}
	binary.LittleEndian.PutUint32(c.b[len(b):], uint32(n))
	return c.b, nil
}

// decode reads what a frame carries.
func decode(b []byte) (*message, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	m := &message{kind: kind(b[0])}
	c := &codec{b: b[1:], reading: true}
	m.fields(c)
	if c.err == nil && len(c.b) > 0 {
		c.err = fmt.Errorf("%d bytes after a message of kind %d", len(c.b), m.kind)
	}
	return m, c.err
}

// receive reads one frame.
func receive(r io.Reader) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes, at most %d", n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return decode(b)
}
