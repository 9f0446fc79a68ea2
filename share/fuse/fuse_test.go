package fuse

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type message interface {
	Append([]byte) []byte
}

// messages are one of each kind that has a form of fixed length, with the kernel's size.
var messages = []struct {
	m    message
	size int
}{
	{InHeader{}, 40}, {OutHeader{}, 16}, {Attr{}, 88}, {EntryOut{}, EntryOutSize}, {AttrOut{}, 104}, {OpenOut{}, 16},
	{WriteOut{}, 8}, {StatfsOut{}, 80}, {GetxattrOut{}, 8}, {LkOut{}, 24}, {LseekOut{}, 8}, {IoctlOut{}, 16},
	{NotifyInvalInodeOut{}, 24}, {InitIn{}, 64}, {InitOut{}, 64}, {MknodIn{}, 16}, {MkdirIn{}, 8}, {RenameIn{}, 8},
	{Rename2In{}, 16}, {LinkIn{}, 8}, {GetattrIn{}, 16}, {SetattrIn{}, 88}, {OpenIn{}, 8}, {CreateIn{}, 16},
	{ReadIn{}, 40}, {WriteIn{}, 40}, {ReleaseIn{}, 24}, {FlushIn{}, 24}, {FsyncIn{}, 16}, {SetxattrIn{}, 8},
	{GetxattrIn{}, 8}, {LkIn{}, 48}, {AccessIn{}, 8}, {ForgetIn{}, 8}, {ForgetOne{}, 16}, {BatchForgetIn{}, 8},
	{InterruptIn{}, 8}, {IoctlIn{}, 32}, {FallocateIn{}, 32}, {LseekIn{}, 24}, {CopyFileRangeIn{}, 56}, {SyncfsIn{}, 8},
	{Hello{}, 8}, {Options{}, 4}, {Notified{}, 4}, {Injected{}, 12},
	{NotifyInvalEntryOut{Name: "a"}, 18}, {NotifyDeleteOut{Name: "a"}, 26}, {Dirent{Name: "abc"}, 32},
	{Direntplus{Dirent: Dirent{Name: "abcdefghi"}}, 168}, {Inject{Path: "a", To: "b"}, 26},
}

// fill gives each number of a structure a value of its own.
func fill(v reflect.Value, r *rand.Rand) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case !f.CanSet():
		case f.Kind() == reflect.Struct:
			fill(f, r)
		case f.CanUint():
			f.SetUint(r.Uint64() & (1<<f.Type().Bits() - 1))
		case f.CanInt():
			f.SetInt(int64(int32(r.Uint64())))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range messages {
		typ := reflect.TypeOf(c.m)
		t.Run(typ.Name(), func(t *testing.T) {
			v := reflect.New(typ)
			v.Elem().Set(reflect.ValueOf(c.m))
			fill(v.Elem(), r)
			if m, ok := v.Interface().(*InitIn); ok {
				m.Flags |= InitExt // without it the upper half does not count
			}
			b := v.Elem().Interface().(message).Append(nil)
			if len(b) != c.size {
				t.Errorf("size = %d, want %d", len(b), c.size)
			}
			back := reflect.New(typ)
			d := NewDecoder(b)
			back.Interface().(interface{ Decode(*Decoder) }).Decode(&d)
			if err := d.End(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.Interface(), back.Interface(), cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
				t.Error(diff)
			}
			short := NewDecoder(b[:len(b)-1])
			reflect.New(typ).Interface().(interface{ Decode(*Decoder) }).Decode(&short)
			if typ != reflect.TypeFor[InitIn]() && short.Err() == nil {
				t.Error("a message that is cut short decodes")
			}
		})
	}
}

func TestName(t *testing.T) {
	d := NewDecoder([]byte("ab\x00\xff\x00tail"))
	if a, b := d.Name(), d.Name(); a != "ab" || b != "\xff" || d.Err() != nil {
		t.Errorf("names %q, %q, %v", a, b, d.Err())
	}
	if d.Name(); !errors.Is(d.End(), ErrMalformed) {
		t.Error("a name without an end is none")
	}
}

func TestReader(t *testing.T) {
	alloc := func(n int) []byte { return make([]byte, n) }
	frame := AppendRequest(nil, InHeader{Opcode: OpLookup}, nil, []byte("name\x00"))
	for _, c := range []struct {
		name string
		in   []byte
		n    int
		want error
	}{
		{"two", append(bytes.Clone(frame), frame...), 2, io.EOF},
		{"cut", frame[:len(frame)-1], 0, io.ErrUnexpectedEOF},
		{"cut_length", frame[:3], 0, io.ErrUnexpectedEOF},
		{"short", []byte{39, 0, 0, 0}, 0, ErrMalformed},
		{"long", []byte{0, 0, 0, 0x7f}, 0, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(iotest.OneByteReader(bytes.NewReader(c.in)), InHeaderSize, MaxFrame)
			for range c.n {
				if b, err := r.Next(alloc); err != nil || !bytes.Equal(b, frame) {
					t.Fatalf("frame %x, %v", b, err)
				}
			}
			if _, err := r.Next(alloc); !errors.Is(err, c.want) {
				t.Errorf("end %v, want %v", err, c.want)
			}
		})
	}
}

// FuzzDecode: no bytes make a decoder panic or read past them, and what it takes is the
// same after a round trip.
func FuzzDecode(f *testing.F) {
	for i, c := range messages {
		f.Add(uint8(i), c.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		typ := reflect.TypeOf(messages[int(kind)%len(messages)].m)
		v := reflect.New(typ)
		d := NewDecoder(b)
		v.Interface().(interface{ Decode(*Decoder) }).Decode(&d)
		if d.Err() != nil {
			return
		}
		again := reflect.New(typ)
		d = NewDecoder(v.Elem().Interface().(message).Append(nil))
		again.Interface().(interface{ Decode(*Decoder) }).Decode(&d)
		if d.End() != nil || !reflect.DeepEqual(v.Interface(), again.Interface()) {
			t.Errorf("%+v became %+v", v.Elem(), again.Elem())
		}
	})
}

// FuzzReader: whatever the stream, frames stay within bounds.
func FuzzReader(f *testing.F) {
	f.Add(AppendRequest(nil, InHeader{Opcode: OpInit}, InitIn{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), InHeaderSize, MaxFrame)
		for {
			frame, err := r.Next(func(n int) []byte {
				if n < InHeaderSize || n > MaxFrame {
					t.Fatalf("a frame of %d bytes", n)
				}
				return make([]byte, n)
			})
			if err != nil {
				return
			}
			if len(frame) > len(b) {
				t.Fatal("a frame longer than the stream")
			}
		}
	})
}
