package hcs

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// HRESULT is how a call of Windows ended. 0 is success, as is all below 0x80000000.
type HRESULT uint32

// Failed tells whether the call failed.
func (h HRESULT) Failed() bool { return h&0x8000_0000 != 0 }

// The codes of HCS that Porthole acts on (HCSHResult.md in the reference of HCS, and winerror.h).
const (
	OK                      HRESULT = 0
	TerminatedDuringStart   HRESULT = 0x80370100
	ImageMismatch           HRESULT = 0x80370101
	HyperVNotInstalled      HRESULT = 0x80370102
	InvalidState            HRESULT = 0x80370105
	UnexpectedExit          HRESULT = 0x80370106
	Terminated              HRESULT = 0x80370107
	ConnectFailed           HRESULT = 0x80370108
	ConnectionTimeout       HRESULT = 0x80370109
	ConnectionClosed        HRESULT = 0x8037010A
	UnknownMessage          HRESULT = 0x8037010B
	UnsupportedVersion      HRESULT = 0x8037010C
	InvalidJSON             HRESULT = 0x8037010D
	SystemNotFound          HRESULT = 0x8037010E
	SystemAlreadyExists     HRESULT = 0x8037010F
	SystemAlreadyStopped    HRESULT = 0x80370110
	ProtocolError           HRESULT = 0x80370111
	InvalidLayer            HRESULT = 0x80370112
	WindowsInsider          HRESULT = 0x80370113
	ServiceNotAvailable     HRESULT = 0x80370114
	OperationNotStarted     HRESULT = 0x80370115
	OperationAlreadyStarted HRESULT = 0x80370116
	OperationPending        HRESULT = 0x80370117
	OperationTimeout        HRESULT = 0x80370118
	CallbackAlreadySet      HRESULT = 0x80370119
	ResultNotAllocated      HRESULT = 0x8037011A
	AccessDenied            HRESULT = 0x8037011B
	GuestCriticalError      HRESULT = 0x8037011C
	ProcessInfoMissing      HRESULT = 0x8037011D
	ServiceDisconnect       HRESULT = 0x8037011E
	ProcessAlreadyStopped   HRESULT = 0x8037011F
	NotConfigured           HRESULT = 0x80370120
	OperationCanceled       HRESULT = 0x80370121
)

// Codes of other parts of Windows that HCS passes on.
const (
	NotImplemented      HRESULT = 0x80004001
	Fail                HRESULT = 0x80004005
	FileNotFound        HRESULT = 0x80070002
	PathNotFound        HRESULT = 0x80070003
	GeneralAccessDenied HRESULT = 0x80070005
	OutOfMemory         HRESULT = 0x8007000E
	SharingViolation    HRESULT = 0x80070020
	InvalidArgument     HRESULT = 0x80070057
	DiskFull            HRESULT = 0x80070070
	AlreadyExists       HRESULT = 0x800700B7
	ElementNotFound     HRESULT = 0x80070490
	NoResources         HRESULT = 0x800705AA
	NotEnoughMemory     HRESULT = 0x80070008
	CommitmentLimit     HRESULT = 0x800705AF
	ServiceDisabled     HRESULT = 0x80070422 // ERROR_SERVICE_DISABLED
	ServiceStopped      HRESULT = 0x80070426 // ERROR_SERVICE_NOT_ACTIVE
	Timeout             HRESULT = 0x800705B4 // ERROR_TIMEOUT
	RPCUnavailable      HRESULT = 0x800706BA
	RPCCallFailed       HRESULT = 0x800706BE
	HypervisorAbsent    HRESULT = 0xC0351000
	VHDFormatUnknown    HRESULT = 0xC03A0005
	VHDCompressed       HRESULT = 0xC03A0013
	VHDSparse           HRESULT = 0xC03A001A
)

// facilityHCS is the facility of HCS's own codes, less the bits that tell families apart.
const facilityHCS = 0x0037

// canonical folds the two families of HCS's codes into one: 0x8037xxxx is documented, and
// 0xC037xxxx is the same condition as the older interface and nested results have it.
func (h HRESULT) canonical() HRESULT {
	if h>>30 == 3 && h>>16&0x0FFF == facilityHCS && h&0xFFFF >= 0x0100 && h&0xFFFF <= 0x0121 {
		return h&^0x4000_0000 | 0x8000_0000
	}
	return h
}

// Is tells whether two codes are the same condition, whatever their families.
func (h HRESULT) Is(other HRESULT) bool { return h.canonical() == other.canonical() }

// condition is what is known of a code.
type condition struct {
	name string
	kind error  // of errdefs
	hint string // what to do about it; empty: the name says all that is known
}

const (
	hintRights  = "run as SYSTEM or Administrator, or as a member of Hyper-V Administrators"
	hintFile    = "the VM's worker cannot read or write a file of the VM: give it access, and look at the events for which"
	hintMemory  = "the host has no memory for it: lower the VM's memory, or end other VMs"
	hintService = "start the Hyper-V Host Compute Service: Start-Service vmcompute"
	hintHyperV  = "install Hyper-V: Install-WindowsFeature Hyper-V, or turn on nested virtualization, and restart"
	hintVHD     = "keep disks on an NTFS or ReFS folder that is neither compressed nor encrypted"
	hintDoc     = "this build of Windows does not take the VM's document: Windows Server 2022 (20348) or newer is needed"
)

var conditions = map[HRESULT]condition{
	TerminatedDuringStart:   {"the VM ended while it started", errdefs.ErrUnavailable, ""},
	ImageMismatch:           {"the image does not match the host", errdefs.ErrFailedPrecondition, ""},
	HyperVNotInstalled:      {"Hyper-V is not installed", errdefs.ErrFailedPrecondition, hintHyperV},
	InvalidState:            {"the VM is not in a state for it", errdefs.ErrFailedPrecondition, ""},
	UnexpectedExit:          {"the VM ended unexpectedly", errdefs.ErrUnavailable, ""},
	Terminated:              {"the VM was terminated", errdefs.ErrUnavailable, ""},
	ConnectFailed:           {"no connection to the VM", errdefs.ErrUnavailable, ""},
	ConnectionTimeout:       {"the VM did not connect in time", context.DeadlineExceeded, ""},
	ConnectionClosed:        {"the connection to the VM was closed", errdefs.ErrUnavailable, ""},
	UnknownMessage:          {"unknown message", errdefs.ErrInternal, ""},
	UnsupportedVersion:      {"unsupported protocol version", errdefs.ErrNotImplemented, hintDoc},
	InvalidJSON:             {"the document is not valid", errdefs.ErrInvalidArgument, hintDoc},
	SystemNotFound:          {"no such VM", errdefs.ErrNotFound, ""},
	SystemAlreadyExists:     {"a VM with this id exists", errdefs.ErrAlreadyExists, "see it with hcsdiag list, and end it with hcsdiag kill"},
	SystemAlreadyStopped:    {"the VM has ended already", errdefs.ErrUnavailable, ""},
	ProtocolError:           {"protocol error", errdefs.ErrInternal, ""},
	InvalidLayer:            {"invalid layer", errdefs.ErrInvalidArgument, ""},
	WindowsInsider:          {"the host must be enrolled in Windows Insider", errdefs.ErrFailedPrecondition, ""},
	ServiceNotAvailable:     {"the Host Compute Service, or a feature that it needs, is not available", errdefs.ErrUnavailable, hintService + "; or " + hintHyperV},
	OperationNotStarted:     {"operation was not started", errdefs.ErrInternal, ""},
	OperationAlreadyStarted: {"operation was started already", errdefs.ErrInternal, ""},
	OperationPending:        {"operation is pending", errdefs.ErrInternal, ""},
	OperationTimeout:        {"operation took too long", context.DeadlineExceeded, "the host is overloaded, or the Host Compute Service hangs: Restart-Service vmcompute"},
	CallbackAlreadySet:      {"a callback was set already", errdefs.ErrInternal, ""},
	ResultNotAllocated:      {"no memory for the result of the operation", errdefs.ErrResourceExhausted, hintMemory},
	AccessDenied:            {"access denied to the Host Compute Service", errdefs.ErrPermissionDenied, hintRights},
	GuestCriticalError:      {"the guest crashed", errdefs.ErrUnavailable, ""},
	ProcessInfoMissing:      {"nothing is known of the process", errdefs.ErrUnavailable, ""},
	ProcessAlreadyStopped:   {"the process has ended already", errdefs.ErrUnavailable, ""},
	OperationCanceled:       {"operation was canceled", context.Canceled, ""},
	ServiceDisconnect:       {"the Host Compute Service went away", errdefs.ErrUnavailable, hintService},
	NotConfigured:           {"the VM is not configured for it", errdefs.ErrFailedPrecondition, ""},

	NotImplemented:      {"not implemented by this build of Windows", errdefs.ErrNotImplemented, ""},
	Fail:                {"unspecified failure", errdefs.ErrInternal, ""},
	FileNotFound:        {"file not found", errdefs.ErrNotFound, ""},
	PathNotFound:        {"folder not found", errdefs.ErrNotFound, ""},
	GeneralAccessDenied: {"access denied", errdefs.ErrPermissionDenied, hintFile},
	OutOfMemory:         {"out of memory", errdefs.ErrResourceExhausted, hintMemory},
	SharingViolation:    {"file is in use", errdefs.ErrUnavailable, "a disk is attached elsewhere, or a scanner has it open: exclude Porthole's folders from it"},
	InvalidArgument:     {"invalid argument", errdefs.ErrInvalidArgument, hintDoc},
	DiskFull:            {"disk is full", errdefs.ErrResourceExhausted, ""},
	AlreadyExists:       {"exists already", errdefs.ErrAlreadyExists, ""},
	ElementNotFound:     {"element not found", errdefs.ErrNotFound, ""},
	NoResources:         {"insufficient system resources", errdefs.ErrResourceExhausted, hintMemory},
	NotEnoughMemory:     {"not enough memory", errdefs.ErrResourceExhausted, hintMemory},
	CommitmentLimit:     {"the page file is too small", errdefs.ErrResourceExhausted, hintMemory},
	ServiceStopped:      {"the service was not started", errdefs.ErrUnavailable, hintService},
	ServiceDisabled:     {"the service is disabled", errdefs.ErrFailedPrecondition, "Set-Service vmcompute -StartupType Manual; Start-Service vmcompute"},
	Timeout:             {"no answer in time", context.DeadlineExceeded, ""},
	RPCUnavailable:      {"the service does not answer", errdefs.ErrUnavailable, hintService},
	RPCCallFailed:       {"the service went away during the call", errdefs.ErrUnavailable, hintService},
	HypervisorAbsent:    {"the hypervisor is not running", errdefs.ErrFailedPrecondition, hintHyperV},
	VHDFormatUnknown:    {"the file is no virtual disk", errdefs.ErrInvalidArgument, ""},
	VHDCompressed:       {"the virtual disk is compressed or encrypted", errdefs.ErrFailedPrecondition, hintVHD},
	VHDSparse:           {"the virtual disk is sparse, compressed or encrypted", errdefs.ErrFailedPrecondition, hintVHD},
}

// String is the code in hex and what it means, if that is known.
func (h HRESULT) String() string {
	if c, ok := conditions[h.canonical()]; ok {
		return fmt.Sprintf("0x%08x %s", uint32(h), c.name)
	}
	return fmt.Sprintf("0x%08x", uint32(h))
}

// Kind is the code's kind in errdefs; Internal for what is not known, nil for success.
func (h HRESULT) Kind() error {
	if !h.Failed() {
		return nil
	}
	if c, ok := conditions[h.canonical()]; ok {
		return c.kind
	}
	return errdefs.ErrInternal
}

// Hint says what to do about a code; empty when that is not known.
func (h HRESULT) Hint() string { return conditions[h.canonical()].hint }

// HasCode tells whether err is, or wraps, an Error with this code or its twin.
func HasCode(err error, code HRESULT) bool {
	var e *Error
	return errors.As(err, &e) && e.Code.Is(code)
}
