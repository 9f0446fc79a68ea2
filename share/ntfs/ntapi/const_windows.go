package ntapi

// Information classes of files (FILE_INFORMATION_CLASS).
const (
	classBasic           = 4
	classAllocation      = 19
	classEndOfFile       = 20
	classNormalizedName  = 48
	classID              = 59
	classIDExtdDirectory = 60
	classDispositionEx   = 64
	classRenameEx        = 65
	classStatLx          = 70
	classCaseSensitive   = 71
	classLinkEx          = 72
)

// Information classes of volumes (FS_INFORMATION_CLASS).
const (
	classFsVolume    = 1
	classFsAttribute = 5
	classFsFullSize  = 7
)

// File system controls.
const (
	fsctlSetReparsePoint    = 0x0900A4
	fsctlGetReparsePoint    = 0x0900A8
	fsctlDeleteReparsePoint = 0x0900AC
	fsctlSetSparse          = 0x0900C4
	fsctlAllocatedRanges    = 0x0940CF
	fsctlSetZeroData        = 0x0980C8
)
