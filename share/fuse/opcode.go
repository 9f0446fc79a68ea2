package fuse

import "strconv"

// Opcode says what a request is for.
type Opcode uint32

// The kernel's requests.
const (
	OpLookup        Opcode = 1
	OpForget        Opcode = 2 // no reply
	OpGetattr       Opcode = 3
	OpSetattr       Opcode = 4
	OpReadlink      Opcode = 5
	OpSymlink       Opcode = 6
	OpMknod         Opcode = 8
	OpMkdir         Opcode = 9
	OpUnlink        Opcode = 10
	OpRmdir         Opcode = 11
	OpRename        Opcode = 12
	OpLink          Opcode = 13
	OpOpen          Opcode = 14
	OpRead          Opcode = 15
	OpWrite         Opcode = 16
	OpStatfs        Opcode = 17
	OpRelease       Opcode = 18
	OpFsync         Opcode = 20
	OpSetxattr      Opcode = 21
	OpGetxattr      Opcode = 22
	OpListxattr     Opcode = 23
	OpRemovexattr   Opcode = 24
	OpFlush         Opcode = 25
	OpInit          Opcode = 26
	OpOpendir       Opcode = 27
	OpReaddir       Opcode = 28
	OpReleasedir    Opcode = 29
	OpFsyncdir      Opcode = 30
	OpGetlk         Opcode = 31
	OpSetlk         Opcode = 32
	OpSetlkw        Opcode = 33
	OpAccess        Opcode = 34
	OpCreate        Opcode = 35
	OpInterrupt     Opcode = 36 // no reply
	OpBmap          Opcode = 37
	OpDestroy       Opcode = 38
	OpIoctl         Opcode = 39
	OpPoll          Opcode = 40
	OpNotifyReply   Opcode = 41 // no reply
	OpBatchForget   Opcode = 42 // no reply
	OpFallocate     Opcode = 43
	OpReaddirplus   Opcode = 44
	OpRename2       Opcode = 45
	OpLseek         Opcode = 46
	OpCopyFileRange Opcode = 47
	OpSetupMapping  Opcode = 48
	OpRemoveMapping Opcode = 49
	OpSyncfs        Opcode = 50
	OpTmpfile       Opcode = 51
	OpStatx         Opcode = 52

	// OpCount is one more than the last opcode that the kernel has.
	OpCount = 53
)

var opNames = [OpCount]string{
	OpLookup: "LOOKUP", OpForget: "FORGET", OpGetattr: "GETATTR", OpSetattr: "SETATTR",
	OpReadlink: "READLINK", OpSymlink: "SYMLINK", OpMknod: "MKNOD", OpMkdir: "MKDIR",
	OpUnlink: "UNLINK", OpRmdir: "RMDIR", OpRename: "RENAME", OpLink: "LINK", OpOpen: "OPEN",
	OpRead: "READ", OpWrite: "WRITE", OpStatfs: "STATFS", OpRelease: "RELEASE", OpFsync: "FSYNC",
	OpSetxattr: "SETXATTR", OpGetxattr: "GETXATTR", OpListxattr: "LISTXATTR",
	OpRemovexattr: "REMOVEXATTR", OpFlush: "FLUSH", OpInit: "INIT", OpOpendir: "OPENDIR",
	OpReaddir: "READDIR", OpReleasedir: "RELEASEDIR", OpFsyncdir: "FSYNCDIR", OpGetlk: "GETLK",
	OpSetlk: "SETLK", OpSetlkw: "SETLKW", OpAccess: "ACCESS", OpCreate: "CREATE",
	OpInterrupt: "INTERRUPT", OpBmap: "BMAP", OpDestroy: "DESTROY", OpIoctl: "IOCTL",
	OpPoll: "POLL", OpNotifyReply: "NOTIFY_REPLY", OpBatchForget: "BATCH_FORGET",
	OpFallocate: "FALLOCATE", OpReaddirplus: "READDIRPLUS", OpRename2: "RENAME2",
	OpLseek: "LSEEK", OpCopyFileRange: "COPY_FILE_RANGE", OpSetupMapping: "SETUPMAPPING",
	OpRemoveMapping: "REMOVEMAPPING", OpSyncfs: "SYNCFS", OpTmpfile: "TMPFILE", OpStatx: "STATX",
}

// String returns the kernel's name of the opcode without its prefix, such as "LOOKUP".
func (o Opcode) String() string {
	if o < OpCount && opNames[o] != "" {
		return opNames[o]
	}
	switch o {
	case OpHello:
		return "HELLO"
	case OpNotified:
		return "NOTIFIED"
	case OpInjected:
		return "INJECTED"
	}
	return "OP" + strconv.FormatUint(uint64(o), 10)
}

// NotifyCode says what a message from the server with no request is about.
type NotifyCode uint32

// Notifications to the kernel, and from CodeOptions on frames to the relay.
const (
	NotifyPoll       NotifyCode = 1
	NotifyInvalInode NotifyCode = 2
	NotifyInvalEntry NotifyCode = 3
	NotifyStore      NotifyCode = 4
	NotifyRetrieve   NotifyCode = 5
	NotifyDelete     NotifyCode = 6

	CodeOptions NotifyCode = 0x10001
	CodeInject  NotifyCode = 0x10003
	CodePlain   NotifyCode = 0x10005
)

// Opcodes of the relay's own frames.
const (
	OpHello    Opcode = 0x10000
	OpNotified Opcode = 0x10002
	OpInjected Opcode = 0x10004
)
