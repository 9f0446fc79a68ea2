package fuse

// Attr are the attributes of a file.
type Attr struct {
	Ino       uint64
	Size      uint64
	Blocks    uint64
	Atime     uint64
	Mtime     uint64
	Ctime     uint64
	AtimeNsec uint32
	MtimeNsec uint32
	CtimeNsec uint32
	Mode      uint32
	Nlink     uint32
	UID       uint32
	GID       uint32
	Rdev      uint32
	BlkSize   uint32
	Flags     uint32
}

// Append appends the message.
func (m Attr) Append(b []byte) []byte {
	b = put64(b, m.Ino, m.Size, m.Blocks, m.Atime, m.Mtime, m.Ctime)
	return put(b, m.AtimeNsec, m.MtimeNsec, m.CtimeNsec, m.Mode, m.Nlink, m.UID, m.GID, m.Rdev, m.BlkSize, m.Flags)
}

// Decode reads the message.
func (m *Attr) Decode(d *Decoder) {
	m.Ino = d.u64()
	m.Size = d.u64()
	m.Blocks = d.u64()
	m.Atime = d.u64()
	m.Mtime = d.u64()
	m.Ctime = d.u64()
	m.AtimeNsec = d.u32()
	m.MtimeNsec = d.u32()
	m.CtimeNsec = d.u32()
	m.Mode = d.u32()
	m.Nlink = d.u32()
	m.UID = d.u32()
	m.GID = d.u32()
	m.Rdev = d.u32()
	m.BlkSize = d.u32()
	m.Flags = d.u32()
}

// EntryOut answers what finds or makes a name. NodeID 0: there is none, for EntryValid.
type EntryOut struct {
	NodeID         uint64
	Generation     uint64
	EntryValid     uint64
	AttrValid      uint64
	EntryValidNsec uint32
	AttrValidNsec  uint32
	Attr           Attr
}

// Append appends the message.
func (m EntryOut) Append(b []byte) []byte {
	b = put64(b, m.NodeID, m.Generation, m.EntryValid, m.AttrValid)
	b = put(b, m.EntryValidNsec, m.AttrValidNsec)
	return m.Attr.Append(b)
}

// Decode reads the message.
func (m *EntryOut) Decode(d *Decoder) {
	m.NodeID = d.u64()
	m.Generation = d.u64()
	m.EntryValid = d.u64()
	m.AttrValid = d.u64()
	m.EntryValidNsec = d.u32()
	m.AttrValidNsec = d.u32()
	m.Attr.Decode(d)
}

// AttrOut answers GETATTR and SETATTR.
type AttrOut struct {
	AttrValid     uint64
	AttrValidNsec uint32
	Attr          Attr
}

// Append appends the message.
func (m AttrOut) Append(b []byte) []byte {
	b = put64(b, m.AttrValid)
	b = put(b, m.AttrValidNsec, 0)
	return m.Attr.Append(b)
}

// Decode reads the message.
func (m *AttrOut) Decode(d *Decoder) {
	m.AttrValid = d.u64()
	m.AttrValidNsec = d.u32()
	d.take(4)
	m.Attr.Decode(d)
}

// OpenOut answers OPEN and OPENDIR, and follows EntryOut of CREATE and TMPFILE.
type OpenOut struct {
	FH        uint64
	OpenFlags uint32
}

// Append appends the message.
func (m OpenOut) Append(b []byte) []byte {
	b = put64(b, m.FH)
	return put(b, m.OpenFlags, 0)
}

// Decode reads the message.
func (m *OpenOut) Decode(d *Decoder) {
	m.FH = d.u64()
	m.OpenFlags = d.u32()
	d.take(4)
}

// WriteOut answers WRITE and COPY_FILE_RANGE.
type WriteOut struct {
	Size uint32
}

// Append appends the message.
func (m WriteOut) Append(b []byte) []byte {
	return put(b, m.Size, 0)
}

// Decode reads the message.
func (m *WriteOut) Decode(d *Decoder) {
	m.Size = d.u32()
	d.take(4)
}

// StatfsOut answers STATFS.
type StatfsOut struct {
	Blocks  uint64
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Bsize   uint32
	NameLen uint32
	Frsize  uint32
}

// Append appends the message.
func (m StatfsOut) Append(b []byte) []byte {
	b = put64(b, m.Blocks, m.Bfree, m.Bavail, m.Files, m.Ffree)
	return put(b, m.Bsize, m.NameLen, m.Frsize, 0, 0, 0, 0, 0, 0, 0)
}

// Decode reads the message.
func (m *StatfsOut) Decode(d *Decoder) {
	m.Blocks = d.u64()
	m.Bfree = d.u64()
	m.Bavail = d.u64()
	m.Files = d.u64()
	m.Ffree = d.u64()
	m.Bsize = d.u32()
	m.NameLen = d.u32()
	m.Frsize = d.u32()
	d.take(28)
}

// GetxattrOut answers GETXATTR and LISTXATTR of size 0.
type GetxattrOut struct {
	Size uint32
}

// Append appends the message.
func (m GetxattrOut) Append(b []byte) []byte {
	return put(b, m.Size, 0)
}

// Decode reads the message.
func (m *GetxattrOut) Decode(d *Decoder) {
	m.Size = d.u32()
	d.take(4)
}

// LkOut answers GETLK.
type LkOut struct {
	Start uint64
	End   uint64
	Type  uint32
	PID   uint32
}

// Append appends the message.
func (m LkOut) Append(b []byte) []byte {
	b = put64(b, m.Start, m.End)
	return put(b, m.Type, m.PID)
}

// Decode reads the message.
func (m *LkOut) Decode(d *Decoder) {
	m.Start = d.u64()
	m.End = d.u64()
	m.Type = d.u32()
	m.PID = d.u32()
}

// LseekOut answers LSEEK.
type LseekOut struct {
	Offset uint64
}

// Append appends the message.
func (m LseekOut) Append(b []byte) []byte {
	return put64(b, m.Offset)
}

// Decode reads the message.
func (m *LseekOut) Decode(d *Decoder) {
	m.Offset = d.u64()
}

// IoctlOut begins the answer to IOCTL.
type IoctlOut struct {
	Result  uint32
	Flags   uint32
	InIovs  uint32
	OutIovs uint32
}

// Append appends the message.
func (m IoctlOut) Append(b []byte) []byte {
	return put(b, m.Result, m.Flags, m.InIovs, m.OutIovs)
}

// Decode reads the message.
func (m *IoctlOut) Decode(d *Decoder) {
	m.Result = d.u32()
	m.Flags = d.u32()
	m.InIovs = d.u32()
	m.OutIovs = d.u32()
}

// NotifyInvalInodeOut drops attributes, and cached data from Off on for Len bytes (as signed numbers; Off negative: none, Len 0 or less: to the end).
type NotifyInvalInodeOut struct {
	Ino uint64
	Off uint64
	Len uint64
}

// Append appends the message.
func (m NotifyInvalInodeOut) Append(b []byte) []byte {
	return put64(b, m.Ino, m.Off, m.Len)
}

// Decode reads the message.
func (m *NotifyInvalInodeOut) Decode(d *Decoder) {
	m.Ino = d.u64()
	m.Off = d.u64()
	m.Len = d.u64()
}
