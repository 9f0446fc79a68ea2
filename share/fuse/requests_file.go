package fuse

// OpenIn is OPEN and OPENDIR.
type OpenIn struct {
	Flags     uint32
	OpenFlags uint32
}

// Append appends the message.
func (m OpenIn) Append(b []byte) []byte {
	return put(b, m.Flags, m.OpenFlags)
}

// Decode reads the message.
func (m *OpenIn) Decode(d *Decoder) {
	m.Flags = d.u32()
	m.OpenFlags = d.u32()
}

// ReadIn is READ, READDIR and READDIRPLUS.
type ReadIn struct {
	FH        uint64
	Offset    uint64
	Size      uint32
	ReadFlags uint32
	LockOwner uint64
	Flags     uint32
}

// Append appends the message.
func (m ReadIn) Append(b []byte) []byte {
	b = put64(b, m.FH, m.Offset)
	b = put(b, m.Size, m.ReadFlags)
	b = put64(b, m.LockOwner)
	return put(b, m.Flags, 0)
}

// Decode reads the message.
func (m *ReadIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Offset = d.u64()
	m.Size = d.u32()
	m.ReadFlags = d.u32()
	m.LockOwner = d.u64()
	m.Flags = d.u32()
	d.take(4)
}

// WriteIn is the fixed part of WRITE; Size bytes follow.
type WriteIn struct {
	FH         uint64
	Offset     uint64
	Size       uint32
	WriteFlags uint32
	LockOwner  uint64
	Flags      uint32
}

// Append appends the message.
func (m WriteIn) Append(b []byte) []byte {
	b = put64(b, m.FH, m.Offset)
	b = put(b, m.Size, m.WriteFlags)
	b = put64(b, m.LockOwner)
	return put(b, m.Flags, 0)
}

// Decode reads the message.
func (m *WriteIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Offset = d.u64()
	m.Size = d.u32()
	m.WriteFlags = d.u32()
	m.LockOwner = d.u64()
	m.Flags = d.u32()
	d.take(4)
}

// ReleaseIn is RELEASE and RELEASEDIR.
type ReleaseIn struct {
	FH           uint64
	Flags        uint32
	ReleaseFlags uint32
	LockOwner    uint64
}

// Append appends the message.
func (m ReleaseIn) Append(b []byte) []byte {
	b = put64(b, m.FH)
	b = put(b, m.Flags, m.ReleaseFlags)
	return put64(b, m.LockOwner)
}

// Decode reads the message.
func (m *ReleaseIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Flags = d.u32()
	m.ReleaseFlags = d.u32()
	m.LockOwner = d.u64()
}

// FlushIn is FLUSH.
type FlushIn struct {
	FH        uint64
	LockOwner uint64
}

// Append appends the message.
func (m FlushIn) Append(b []byte) []byte {
	b = put64(b, m.FH)
	b = put(b, 0, 0)
	return put64(b, m.LockOwner)
}

// Decode reads the message.
func (m *FlushIn) Decode(d *Decoder) {
	m.FH = d.u64()
	d.take(8)
	m.LockOwner = d.u64()
}

// FsyncIn is FSYNC and FSYNCDIR.
type FsyncIn struct {
	FH    uint64
	Flags uint32
}

// Append appends the message.
func (m FsyncIn) Append(b []byte) []byte {
	b = put64(b, m.FH)
	return put(b, m.Flags, 0)
}

// Decode reads the message.
func (m *FsyncIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Flags = d.u32()
	d.take(4)
}

// LkIn is GETLK, SETLK and SETLKW.
type LkIn struct {
	FH    uint64
	Owner uint64
	Start uint64
	End   uint64
	Type  uint32
	PID   uint32
	Flags uint32
}

// Append appends the message.
func (m LkIn) Append(b []byte) []byte {
	b = put64(b, m.FH, m.Owner, m.Start, m.End)
	return put(b, m.Type, m.PID, m.Flags, 0)
}

// Decode reads the message.
func (m *LkIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Owner = d.u64()
	m.Start = d.u64()
	m.End = d.u64()
	m.Type = d.u32()
	m.PID = d.u32()
	m.Flags = d.u32()
	d.take(4)
}

// InterruptIn is INTERRUPT: the request that is to end.
type InterruptIn struct {
	Unique uint64
}

// Append appends the message.
func (m InterruptIn) Append(b []byte) []byte {
	return put64(b, m.Unique)
}

// Decode reads the message.
func (m *InterruptIn) Decode(d *Decoder) {
	m.Unique = d.u64()
}

// IoctlIn is the fixed part of IOCTL; InSize bytes follow.
type IoctlIn struct {
	FH      uint64
	Flags   uint32
	Cmd     uint32
	Arg     uint64
	InSize  uint32
	OutSize uint32
}

// Append appends the message.
func (m IoctlIn) Append(b []byte) []byte {
	b = put64(b, m.FH)
	b = put(b, m.Flags, m.Cmd)
	b = put64(b, m.Arg)
	return put(b, m.InSize, m.OutSize)
}

// Decode reads the message.
func (m *IoctlIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Flags = d.u32()
	m.Cmd = d.u32()
	m.Arg = d.u64()
	m.InSize = d.u32()
	m.OutSize = d.u32()
}

// FallocateIn is FALLOCATE.
type FallocateIn struct {
	FH     uint64
	Offset uint64
	Length uint64
	Mode   uint32
}

// Append appends the message.
func (m FallocateIn) Append(b []byte) []byte {
	b = put64(b, m.FH, m.Offset, m.Length)
	return put(b, m.Mode, 0)
}

// Decode reads the message.
func (m *FallocateIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Offset = d.u64()
	m.Length = d.u64()
	m.Mode = d.u32()
	d.take(4)
}

// LseekIn is LSEEK.
type LseekIn struct {
	FH     uint64
	Offset uint64
	Whence uint32
}

// Append appends the message.
func (m LseekIn) Append(b []byte) []byte {
	b = put64(b, m.FH, m.Offset)
	return put(b, m.Whence, 0)
}

// Decode reads the message.
func (m *LseekIn) Decode(d *Decoder) {
	m.FH = d.u64()
	m.Offset = d.u64()
	m.Whence = d.u32()
	d.take(4)
}

// CopyFileRangeIn is COPY_FILE_RANGE.
type CopyFileRangeIn struct {
	FHIn      uint64
	OffIn     uint64
	NodeIDOut uint64
	FHOut     uint64
	OffOut    uint64
	Len       uint64
	Flags     uint64
}

// Append appends the message.
func (m CopyFileRangeIn) Append(b []byte) []byte {
	return put64(b, m.FHIn, m.OffIn, m.NodeIDOut, m.FHOut, m.OffOut, m.Len, m.Flags)
}

// Decode reads the message.
func (m *CopyFileRangeIn) Decode(d *Decoder) {
	m.FHIn = d.u64()
	m.OffIn = d.u64()
	m.NodeIDOut = d.u64()
	m.FHOut = d.u64()
	m.OffOut = d.u64()
	m.Len = d.u64()
	m.Flags = d.u64()
}

// SyncfsIn is SYNCFS.
type SyncfsIn struct {
}

// Append appends the message.
func (SyncfsIn) Append(b []byte) []byte {
	return put64(b, 0)
}

// Decode reads the message.
func (*SyncfsIn) Decode(d *Decoder) {
	d.take(8)
}
