package fuse

// The private frames between server and relay (docs/wire.md, "Shares"). Their unique is
// 0; the kernel never sees them.

// ControlVersion is the version of the private frames.
const ControlVersion = 2

// Hello is the relay's first frame.
type Hello struct {
	Version uint32
	TID     uint32 // the injector's thread id, as headers of its requests have it
}

// Append appends the frame's body.
func (m Hello) Append(b []byte) []byte { return put(b, m.Version, m.TID) }

// Decode reads the frame's body.
func (m *Hello) Decode(d *Decoder) { *m = Hello{d.u32(), d.u32()} }

// Bits of Options.
const (
	// OptionFlush lets the relay answer FLUSH until it sees a SETLK or SETLKW.
	OptionFlush = 1 << 0
	// OptionNoCapability lets it answer GETXATTR of security.capability with ENODATA.
	OptionNoCapability = 1 << 1
)

// Options tells the relay what it may answer itself.
type Options struct{ Flags uint32 }

// Append appends the frame's body.
func (m Options) Append(b []byte) []byte { return put(b, m.Flags) }

// Decode reads the frame's body.
func (m *Options) Decode(d *Decoder) { *m = Options{d.u32()} }

// Plain says of a file that it has no capabilities, for the relay to answer the kernel's
// next question of that within a second. Node 0 takes back all that was said.
type Plain struct{ Node uint64 }

// Append appends the frame's body.
func (m Plain) Append(b []byte) []byte { return put64(b, m.Node) }

// Decode reads the frame's body.
func (m *Plain) Decode(d *Decoder) { *m = Plain{d.u64()} }

// Notified says that the kernel has carried out a notification.
type Notified struct{ Errno uint32 }

// Append appends the frame's body.
func (m Notified) Append(b []byte) []byte { return put(b, m.Errno) }

// Decode reads the frame's body.
func (m *Notified) Decode(d *Decoder) { *m = Notified{d.u32()} }

// InjectKind is what the injector does.
type InjectKind uint32

// Kinds of injections.
const (
	InjectMknod InjectKind = iota + 1
	InjectMkdir
	InjectSymlink
	InjectModify
	InjectTruncate
	InjectChmod
	InjectUnlink
	InjectRmdir
	InjectRename
	// InjectShrink has the kernel forget the names that nothing uses. It has no path.
	InjectShrink
	InjectClose // opens for writing and closes
	InjectTouch // of a symbolic link: its times
)

// Inject is a request to the relay's injector. Paths are relative to the share's root.
type Inject struct {
	ID         uint64
	Kind       InjectKind
	Mode, Rdev uint32
	Path, To   string
}

// Append appends the frame's body. Paths of 64 KiB and more do not fit.
func (m Inject) Append(b []byte) []byte {
	b = put64(b, m.ID)
	b = put(b, uint32(m.Kind), m.Mode, m.Rdev)
	b = le.AppendUint16(b, uint16(len(m.Path)))
	b = le.AppendUint16(b, uint16(len(m.To)))
	return append(append(b, m.Path...), m.To...)
}

// Decode reads the frame's body.
func (m *Inject) Decode(d *Decoder) {
	*m = Inject{ID: d.u64(), Kind: InjectKind(d.u32()), Mode: d.u32(), Rdev: d.u32()}
	p, t := d.u16(), d.u16()
	m.Path, m.To = string(d.Bytes(uint32(p))), string(d.Bytes(uint32(t)))
}

// Injected is the injector's answer.
type Injected struct {
	ID    uint64
	Errno uint32
}

// Append appends the frame's body.
func (m Injected) Append(b []byte) []byte { return put(put64(b, m.ID), m.Errno) }

// Decode reads the frame's body.
func (m *Injected) Decode(d *Decoder) { *m = Injected{d.u64(), d.u32()} }

// AppendNotify appends a whole message that answers no request: a notification or a
// control frame to the relay. Of the body's types it takes those that have Append.
func AppendNotify(b []byte, code NotifyCode, body interface{ Append([]byte) []byte }) []byte {
	start := len(b)
	b = OutHeader{Error: int32(code)}.Append(b)
	b = body.Append(b)
	SetLen(b[start:])
	return b
}

// AppendRequest appends a whole message to the server: a request or a control frame of
// the relay. body may be nil; names or data follow it.
func AppendRequest(b []byte, h InHeader, body interface{ Append([]byte) []byte }, tail ...[]byte) []byte {
	start := len(b)
	b = h.Append(b)
	if body != nil {
		b = body.Append(b)
	}
	for _, t := range tail {
		b = append(b, t...)
	}
	SetLen(b[start:])
	return b
}
