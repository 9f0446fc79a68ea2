package cri

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of messages, appended as the protobuf library writes them: what is zero is left out.

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// appendTime appends a time in nanoseconds since 1970.
func appendTime(b []byte, num protowire.Number, t time.Time) []byte {
	return appendVarint(b, num, uint64(t.UnixNano()))
}

func appendDouble(b []byte, num protowire.Number, v float64) []byte {
	if math.Float64bits(v) == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), math.Float64bits(v))
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendElement(b, num, s)
}

// appendElement appends an element of a list of strings, which may be empty.
func appendElement(b []byte, num protowire.Number, s string) []byte {
	// What is no UTF-8 would make the whole answer unreadable.
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

// appendNumber appends an UInt64Value, which is there when it is zero too.
func appendNumber(b []byte, num protowire.Number, v uint64) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = append(b, byte(numberSize(v)))
	return appendVarint(b, 1, v)
}

// numberSize is how many bytes the fields of an UInt64Value take.
func numberSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

// appendOptional appends an UInt64Value if there is one.
func appendOptional(b []byte, num protowire.Number, v *uint64) []byte {
	if v == nil {
		return b
	}
	return appendNumber(b, num, *v)
}

// A message's length comes before its fields and is known after them. This much room is
// left for it: small is for what is mostly shorter than 128 bytes, large for what may have
// any length up to 2 MiB. Others are moved.
const (
	small = 1
	large = 3
)

// begin begins a message as a field. Its fields are to be appended, and then end called
// with at.
func begin(b []byte, num protowire.Number, room int) (_ []byte, at int) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return append(b, "\x00\x00\x00"[:room]...), len(b)
}

// end writes the length of the message that was begun at.
func end(b []byte, at, room int) []byte {
	n := len(b) - at - room
	if more := protowire.SizeVarint(uint64(n)) - room; more > 0 {
		b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00"[:more]...)
		copy(b[at+room+more:], b[at+room:at+room+n])
		room += more
	}
	// A number may be written longer than it has to be.
	for i := range room - 1 {
		b[at+i] = byte(n>>(7*i)) | 0x80
	}
	b[at+room-1] = byte(n >> (7 * (room - 1)))
	return b
}
