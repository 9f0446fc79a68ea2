package fuse

// InitIn is INIT. Kernels before 7.36 send its first four fields only.
type InitIn struct {
	Major, Minor uint32
	MaxReadahead uint32
	Flags        InitFlags
}

// Append appends the message in its long form.
func (m InitIn) Append(b []byte) []byte {
	b = put(b, m.Major, m.Minor, m.MaxReadahead, uint32(m.Flags), uint32(m.Flags>>32))
	return append(b, make([]byte, 44)...)
}

// Decode reads the message, whichever its form, to its end: a newer kernel may have more.
func (m *InitIn) Decode(d *Decoder) {
	*m = InitIn{Major: d.u32(), Minor: d.u32(), MaxReadahead: d.u32(), Flags: InitFlags(d.u32())}
	if d.Len() >= 4 {
		high := InitFlags(d.u32()) << 32
		if m.Flags&InitExt != 0 {
			m.Flags |= high
		}
	}
	d.Rest()
}

// InitOut answers INIT.
type InitOut struct {
	Major, Minor        uint32
	MaxReadahead        uint32
	Flags               InitFlags
	MaxBackground       uint16
	CongestionThreshold uint16
	MaxWrite            uint32
	TimeGran            uint32 // nanoseconds
	MaxPages            uint16
	MapAlignment        uint16
}

// Append appends the message.
func (m InitOut) Append(b []byte) []byte {
	b = put(b, m.Major, m.Minor, m.MaxReadahead, uint32(m.Flags))
	b = le.AppendUint16(b, m.MaxBackground)
	b = le.AppendUint16(b, m.CongestionThreshold)
	b = put(b, m.MaxWrite, m.TimeGran)
	b = le.AppendUint16(b, m.MaxPages)
	b = le.AppendUint16(b, m.MapAlignment)
	b = put(b, uint32(m.Flags>>32))
	return append(b, make([]byte, 28)...)
}

// Decode reads the message.
func (m *InitOut) Decode(d *Decoder) {
	*m = InitOut{Major: d.u32(), Minor: d.u32(), MaxReadahead: d.u32(), Flags: InitFlags(d.u32()),
		MaxBackground: d.u16(), CongestionThreshold: d.u16(), MaxWrite: d.u32(), TimeGran: d.u32(),
		MaxPages: d.u16(), MapAlignment: d.u16()}
	m.Flags |= InitFlags(d.u32()) << 32
	d.take(28)
}
