package fuse

// The protocol's version, and its fixed numbers.
const (
	Major = 7
	Minor = 38
	// RootID is the node of the mount's root.
	RootID = 1
	// MaxWrite is the most data that a READ or WRITE carries here.
	MaxWrite = 1 << 20
	// MaxPages are MaxWrite's pages.
	MaxPages = MaxWrite / 4096
	// MaxFrame bounds a frame in either direction.
	MaxFrame = MaxWrite + 8<<10
	// XattrNameMax bounds an extended attribute's name, in bytes.
	XattrNameMax = 255
)

// InitFlags are what kernel and server can do, flags and flags2 of INIT as one.
type InitFlags uint64

// Abilities.
const (
	AsyncRead         InitFlags = 1 << 0
	PosixLocks        InitFlags = 1 << 1
	FileOps           InitFlags = 1 << 2
	AtomicOTrunc      InitFlags = 1 << 3
	ExportSupport     InitFlags = 1 << 4
	BigWrites         InitFlags = 1 << 5
	DontMask          InitFlags = 1 << 6
	SpliceWrite       InitFlags = 1 << 7
	SpliceMove        InitFlags = 1 << 8
	SpliceRead        InitFlags = 1 << 9
	FlockLocks        InitFlags = 1 << 10
	HasIoctlDir       InitFlags = 1 << 11
	AutoInvalData     InitFlags = 1 << 12
	DoReaddirplus     InitFlags = 1 << 13
	ReaddirplusAuto   InitFlags = 1 << 14
	AsyncDIO          InitFlags = 1 << 15
	WritebackCache    InitFlags = 1 << 16
	NoOpenSupport     InitFlags = 1 << 17
	ParallelDirops    InitFlags = 1 << 18
	HandleKillpriv    InitFlags = 1 << 19
	PosixACL          InitFlags = 1 << 20
	AbortError        InitFlags = 1 << 21
	MaxPagesSet       InitFlags = 1 << 22
	CacheSymlinks     InitFlags = 1 << 23
	NoOpendirSupport  InitFlags = 1 << 24
	ExplicitInvalData InitFlags = 1 << 25
	MapAlignment      InitFlags = 1 << 26
	Submounts         InitFlags = 1 << 27
	HandleKillprivV2  InitFlags = 1 << 28
	SetxattrExt       InitFlags = 1 << 29
	InitExt           InitFlags = 1 << 30
	SecurityCtx       InitFlags = 1 << 32
	HasInodeDAX       InitFlags = 1 << 33
	HasExpireOnly     InitFlags = 1 << 35
)

// Valid bits of SetattrIn.
const (
	FattrMode        = 1 << 0
	FattrUID         = 1 << 1
	FattrGID         = 1 << 2
	FattrSize        = 1 << 3
	FattrAtime       = 1 << 4
	FattrMtime       = 1 << 5
	FattrFH          = 1 << 6
	FattrAtimeNow    = 1 << 7
	FattrMtimeNow    = 1 << 8
	FattrLockOwner   = 1 << 9
	FattrCtime       = 1 << 10
	FattrKillSUIDGID = 1 << 11
)

// OpenFlags of OpenOut.
const (
	FopenDirectIO             = 1 << 0
	FopenKeepCache            = 1 << 1
	FopenNonseekable          = 1 << 2
	FopenCacheDir             = 1 << 3
	FopenStream               = 1 << 4
	FopenNoflush              = 1 << 5
	FopenParallelDirectWrites = 1 << 6
)

// Further flags, named for the message that has them.
const (
	GetattrFH          = 1 << 0
	ReleaseFlush       = 1 << 0
	ReleaseFlockUnlock = 1 << 1
	LkFlock            = 1 << 0
	WriteCache         = 1 << 0
	WriteLockOwner     = 1 << 1
	WriteKillSUIDGID   = 1 << 2
	ReadLockOwner      = 1 << 1
	FsyncFdatasync     = 1 << 0
	OpenKillSUIDGID    = 1 << 0
	ExpireOnly         = 1 << 0
)
