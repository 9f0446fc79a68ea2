package fuse

// MknodIn is the fixed part of MKNOD; a name follows.
type MknodIn struct {
	Mode  uint32
	Rdev  uint32
	Umask uint32
}

// Append appends the message.
func (m MknodIn) Append(b []byte) []byte {
	return put(b, m.Mode, m.Rdev, m.Umask, 0)
}

// Decode reads the message.
func (m *MknodIn) Decode(d *Decoder) {
	m.Mode = d.u32()
	m.Rdev = d.u32()
	m.Umask = d.u32()
	d.take(4)
}

// MkdirIn is the fixed part of MKDIR; a name follows.
type MkdirIn struct {
	Mode  uint32
	Umask uint32
}

// Append appends the message.
func (m MkdirIn) Append(b []byte) []byte {
	return put(b, m.Mode, m.Umask)
}

// Decode reads the message.
func (m *MkdirIn) Decode(d *Decoder) {
	m.Mode = d.u32()
	m.Umask = d.u32()
}

// RenameIn is the fixed part of RENAME; two names follow.
type RenameIn struct {
	NewDir uint64
}

// Append appends the message.
func (m RenameIn) Append(b []byte) []byte {
	return put64(b, m.NewDir)
}

// Decode reads the message.
func (m *RenameIn) Decode(d *Decoder) {
	m.NewDir = d.u64()
}

// Rename2In is the fixed part of RENAME2; two names follow.
type Rename2In struct {
	NewDir uint64
	Flags  uint32
}

// Append appends the message.
func (m Rename2In) Append(b []byte) []byte {
	b = put64(b, m.NewDir)
	return put(b, m.Flags, 0)
}

// Decode reads the message.
func (m *Rename2In) Decode(d *Decoder) {
	m.NewDir = d.u64()
	m.Flags = d.u32()
	d.take(4)
}

// LinkIn is the fixed part of LINK; a name follows.
type LinkIn struct {
	OldNodeID uint64
}

// Append appends the message.
func (m LinkIn) Append(b []byte) []byte {
	return put64(b, m.OldNodeID)
}

// Decode reads the message.
func (m *LinkIn) Decode(d *Decoder) {
	m.OldNodeID = d.u64()
}

// GetattrIn is GETATTR.
type GetattrIn struct {
	Flags uint32
	FH    uint64
}

// Append appends the message.
func (m GetattrIn) Append(b []byte) []byte {
	b = put(b, m.Flags, 0)
	return put64(b, m.FH)
}

// Decode reads the message.
func (m *GetattrIn) Decode(d *Decoder) {
	m.Flags = d.u32()
	d.take(4)
	m.FH = d.u64()
}

// SetattrIn is SETATTR.
type SetattrIn struct {
	Valid     uint32
	FH        uint64
	Size      uint64
	LockOwner uint64
	Atime     uint64
	Mtime     uint64
	Ctime     uint64
	AtimeNsec uint32
	MtimeNsec uint32
	CtimeNsec uint32
	Mode      uint32
	UID       uint32
	GID       uint32
}

// Append appends the message.
func (m SetattrIn) Append(b []byte) []byte {
	b = put(b, m.Valid, 0)
	b = put64(b, m.FH, m.Size, m.LockOwner, m.Atime, m.Mtime, m.Ctime)
	return put(b, m.AtimeNsec, m.MtimeNsec, m.CtimeNsec, m.Mode, 0, m.UID, m.GID, 0)
}

// Decode reads the message.
func (m *SetattrIn) Decode(d *Decoder) {
	m.Valid = d.u32()
	d.take(4)
	m.FH = d.u64()
	m.Size = d.u64()
	m.LockOwner = d.u64()
	m.Atime = d.u64()
	m.Mtime = d.u64()
	m.Ctime = d.u64()
	m.AtimeNsec = d.u32()
	m.MtimeNsec = d.u32()
	m.CtimeNsec = d.u32()
	m.Mode = d.u32()
	d.take(4)
	m.UID = d.u32()
	m.GID = d.u32()
	d.take(4)
}

// CreateIn is the fixed part of CREATE and TMPFILE; a name follows.
type CreateIn struct {
	Flags     uint32
	Mode      uint32
	Umask     uint32
	OpenFlags uint32
}

// Append appends the message.
func (m CreateIn) Append(b []byte) []byte {
	return put(b, m.Flags, m.Mode, m.Umask, m.OpenFlags)
}

// Decode reads the message.
func (m *CreateIn) Decode(d *Decoder) {
	m.Flags = d.u32()
	m.Mode = d.u32()
	m.Umask = d.u32()
	m.OpenFlags = d.u32()
}

// SetxattrIn is the fixed part of SETXATTR; a name and Size bytes follow.
type SetxattrIn struct {
	Size  uint32
	Flags uint32
}

// Append appends the message.
func (m SetxattrIn) Append(b []byte) []byte {
	return put(b, m.Size, m.Flags)
}

// Decode reads the message.
func (m *SetxattrIn) Decode(d *Decoder) {
	m.Size = d.u32()
	m.Flags = d.u32()
}

// GetxattrIn is the fixed part of GETXATTR and LISTXATTR; a name follows the former.
type GetxattrIn struct {
	Size uint32
}

// Append appends the message.
func (m GetxattrIn) Append(b []byte) []byte {
	return put(b, m.Size, 0)
}

// Decode reads the message.
func (m *GetxattrIn) Decode(d *Decoder) {
	m.Size = d.u32()
	d.take(4)
}

// AccessIn is ACCESS.
type AccessIn struct {
	Mask uint32
}

// Append appends the message.
func (m AccessIn) Append(b []byte) []byte {
	return put(b, m.Mask, 0)
}

// Decode reads the message.
func (m *AccessIn) Decode(d *Decoder) {
	m.Mask = d.u32()
	d.take(4)
}

// ForgetIn is FORGET.
type ForgetIn struct {
	Nlookup uint64
}

// Append appends the message.
func (m ForgetIn) Append(b []byte) []byte {
	return put64(b, m.Nlookup)
}

// Decode reads the message.
func (m *ForgetIn) Decode(d *Decoder) {
	m.Nlookup = d.u64()
}

// ForgetOne is one of BATCH_FORGET.
type ForgetOne struct {
	NodeID  uint64
	Nlookup uint64
}

// Append appends the message.
func (m ForgetOne) Append(b []byte) []byte {
	return put64(b, m.NodeID, m.Nlookup)
}

// Decode reads the message.
func (m *ForgetOne) Decode(d *Decoder) {
	m.NodeID = d.u64()
	m.Nlookup = d.u64()
}

// BatchForgetIn is the fixed part of BATCH_FORGET; Count of ForgetOne follow.
type BatchForgetIn struct {
	Count uint32
}

// Append appends the message.
func (m BatchForgetIn) Append(b []byte) []byte {
	return put(b, m.Count, 0)
}

// Decode reads the message.
func (m *BatchForgetIn) Decode(d *Decoder) {
	m.Count = d.u32()
	d.take(4)
}
