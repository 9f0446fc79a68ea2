package ntapi

// Rights to a file (ACCESS_MASK).
const (
	AccessReadData        = 0x000001 // also: list a directory
	AccessWriteData       = 0x000002 // also: add a file to a directory
	AccessAppendData      = 0x000004 // also: add a subdirectory
	AccessReadEA          = 0x000008
	AccessWriteEA         = 0x000010
	AccessTraverse        = 0x000020
	AccessDeleteChild     = 0x000040
	AccessReadAttributes  = 0x000080
	AccessWriteAttributes = 0x000100
	AccessDelete          = 0x010000
	AccessReadControl     = 0x020000
	AccessSynchronize     = 0x100000
)

// What a handle lets others open.
const (
	ShareRead   = 1
	ShareWrite  = 2
	ShareDelete = 4
	ShareAll    = ShareRead | ShareWrite | ShareDelete
)

// Dispositions of an open.
const (
	DispositionOpen   = 1 // must be there
	DispositionCreate = 2 // must not
	DispositionOpenIf = 3
)

// Options of an open (NtCreateFile's CreateOptions).
const (
	OptionDirectory    = 0x000001
	OptionWriteThrough = 0x000002
	OptionNonDirectory = 0x000040
	OptionByID         = 0x002000
	OptionBackup       = 0x004000
	OptionReparsePoint = 0x200000 // open the link, not what it leads to
)

// File attributes.
const (
	AttributeReadonly     = 0x0001
	AttributeHidden       = 0x0002
	AttributeSystem       = 0x0004
	AttributeDirectory    = 0x0010
	AttributeArchive      = 0x0020
	AttributeNormal       = 0x0080
	AttributeSparse       = 0x0200
	AttributeReparsePoint = 0x0400
)

// Reparse tags.
const (
	TagMountPoint = 0xA0000003
	TagSymlink    = 0xA000000C
	TagLxSymlink  = 0xA000001D
	TagUnix       = 0x80000023 // AF_UNIX socket
	TagLxFIFO     = 0x80000024
	TagLxChar     = 0x80000025
	TagLxBlock    = 0x80000026
	// TagNameSurrogate is set in tags of what stands for another name.
	TagNameSurrogate = 0x20000000
)

// Flags of SetDisposition.
const (
	DispositionDelete         = 0x01
	DispositionPosix          = 0x02
	DispositionIgnoreReadonly = 0x10
)

// Flags of Rename and Link.
const (
	RenameReplace        = 0x01
	RenamePosix          = 0x02
	RenameIgnoreReadonly = 0x40
)

// Extended attributes of WSL, and their flags in StatLx.LxFlags.
const (
	EAUID  = "$LXUID"
	EAGID  = "$LXGID"
	EAMode = "$LXMOD"
	EADev  = "$LXDEV"

	LxHasUID        = 0x01
	LxHasGID        = 0x02
	LxHasMode       = 0x04
	LxHasDev        = 0x08
	LxCaseSensitive = 0x10 // a directory with the case flag
)

// Times that SetBasic reads as orders for its handle.
const (
	TimeKeep   = 0  // leave it as it is
	TimeHold   = -1 // let this handle's reads and writes not move it
	TimeResume = -2 // let them again
)

// AppendOffset is the offset of a write at the end of the file.
const AppendOffset = -1

// Flush flags of NtFlushBuffersFileEx.
const (
	FlushNormal       = 0
	FlushFileDataOnly = 1
	FlushDataSyncOnly = 4
)

// Actions of a Change.
const (
	ActionAdded    = 1
	ActionRemoved  = 2
	ActionModified = 3
	ActionOldName  = 4 // the next change of the same file has its new name
	ActionNewName  = 5
)

// Filters of ReadChanges.
const (
	NotifyFileName   = 0x001
	NotifyDirName    = 0x002
	NotifyAttributes = 0x004
	NotifySize       = 0x008
	NotifyLastWrite  = 0x010
	NotifyCreation   = 0x040
	NotifyEA         = 0x080
	NotifySecurity   = 0x100
)
