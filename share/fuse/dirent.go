package fuse

// NotifyInvalEntryOut makes the kernel drop a name of a folder, or with ExpireOnly look
// it up again before the next use.
type NotifyInvalEntryOut struct {
	Parent uint64
	Flags  uint32
	Name   string
}

// Append appends the message.
func (m NotifyInvalEntryOut) Append(b []byte) []byte {
	return AppendName(put(put64(b, m.Parent), uint32(len(m.Name)), m.Flags), m.Name)
}

// Decode reads the message.
func (m *NotifyInvalEntryOut) Decode(d *Decoder) {
	m.Parent = d.u64()
	n := d.u32()
	m.Flags = d.u32()
	m.Name = string(d.Bytes(n))
	d.take(1)
}

// NotifyDeleteOut tells the kernel that a name is gone for good.
type NotifyDeleteOut struct {
	Parent, Child uint64
	Name          string
}

// Append appends the message.
func (m NotifyDeleteOut) Append(b []byte) []byte {
	return AppendName(put(put64(b, m.Parent, m.Child), uint32(len(m.Name)), 0), m.Name)
}

// Decode reads the message.
func (m *NotifyDeleteOut) Decode(d *Decoder) {
	m.Parent, m.Child = d.u64(), d.u64()
	n := d.u32()
	d.take(4)
	m.Name = string(d.Bytes(n))
	d.take(1)
}

// Dirent is one entry of READDIR's answer.
type Dirent struct {
	Ino  uint64
	Off  uint64 // where to go on after it
	Type uint32
	Name string
}

const direntFixed = 24

// EntryOutSize is the size of an EntryOut.
const EntryOutSize = 128

func align8(n int) int { return (n + 7) &^ 7 }

// DirentSize is what an entry with such a name takes in READDIR's answer.
func DirentSize(name string) int { return align8(direntFixed + len(name)) }

// DirentplusSize is what it takes in READDIRPLUS's answer.
func DirentplusSize(name string) int { return EntryOutSize + DirentSize(name) }

// Append appends the entry, padded to eight bytes.
func (m Dirent) Append(b []byte) []byte {
	b = put64(b, m.Ino, m.Off)
	b = put(b, uint32(len(m.Name)), m.Type)
	b = append(b, m.Name...)
	var zero [8]byte
	return append(b, zero[:DirentSize(m.Name)-direntFixed-len(m.Name)]...)
}

// Decode reads the entry and its padding.
func (m *Dirent) Decode(d *Decoder) {
	m.Ino, m.Off = d.u64(), d.u64()
	n := d.u32()
	m.Type = d.u32()
	m.Name = string(d.Bytes(n))
	if d.Err() == nil {
		d.take(align8(direntFixed+int(n)) - direntFixed - int(n))
	}
}

// Direntplus is one entry of READDIRPLUS's answer.
type Direntplus struct {
	Entry EntryOut // NodeID 0: not looked up
	Dirent
}

// Append appends the entry, padded to eight bytes.
func (m Direntplus) Append(b []byte) []byte { return m.Dirent.Append(m.Entry.Append(b)) }

// Decode reads the entry and its padding.
func (m *Direntplus) Decode(d *Decoder) {
	m.Entry.Decode(d)
	m.Dirent.Decode(d)
}
