package hcs

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The types below are the parts of schema 2.1 that Porthole uses
// (https://learn.microsoft.com/virtualization/api/hcs/schemareference), by their names there.
// HCS takes the later fields that are marked with a build under version 2.1 as well.

// ComputeSystem is the document of a new compute system.
type ComputeSystem struct {
	Owner                             string         `json:"Owner"`
	SchemaVersion                     Version        `json:"SchemaVersion"`
	ShouldTerminateOnLastHandleClosed bool           `json:"ShouldTerminateOnLastHandleClosed"`
	VirtualMachine                    VirtualMachine `json:"VirtualMachine"`
}

// Version is a version of the schema.
type Version struct {
	Major uint32 `json:"Major"`
	Minor uint32 `json:"Minor"`
}

// VirtualMachine is a utility VM.
type VirtualMachine struct {
	// StopOnReset makes an end of a guest's reset, such as that of a kernel's panic.
	StopOnReset     bool            `json:"StopOnReset"`
	Chipset         Chipset         `json:"Chipset"`
	ComputeTopology ComputeTopology `json:"ComputeTopology"`
	Devices         Devices         `json:"Devices"`
	RestoreState    *RestoreState   `json:"RestoreState,omitempty"`
}

// Chipset says how the VM boots.
type Chipset struct {
	UseUtc            bool              `json:"UseUtc"` // the clock that the guest reads is UTC
	LinuxKernelDirect LinuxKernelDirect `json:"LinuxKernelDirect"`
}

// LinuxKernelDirect boots a kernel without firmware (build 18286).
type LinuxKernelDirect struct {
	KernelFilePath string `json:"KernelFilePath"` // an uncompressed vmlinux
	InitRdPath     string `json:"InitRdPath"`
	KernelCmdLine  string `json:"KernelCmdLine"`
}

// ComputeTopology is memory and processors.
type ComputeTopology struct {
	Memory    Memory    `json:"Memory"`
	Processor Processor `json:"Processor"`
}

// Memory is the VM's memory.
type Memory struct {
	SizeInMB                       uint64 `json:"SizeInMB"` // even
	AllowOvercommit                bool   `json:"AllowOvercommit"`
	EnableDeferredCommit           bool   `json:"EnableDeferredCommit"`            // memory is committed when it is touched
	EnableColdDiscardHint          bool   `json:"EnableColdDiscardHint,omitempty"` // what the guest reports as free is given back (build 18967)
	BackingPageSize                string `json:"BackingPageSize,omitempty"`       // "Small" or "Large" (schema 2.2)
	FaultClusterSizeShift          uint32 `json:"FaultClusterSizeShift,omitempty"` // pages that one fault brings in, as a power of 2 (2004)
	DirectMapFaultClusterSizeShift uint32 `json:"DirectMapFaultClusterSizeShift,omitempty"`
}

// Processor is the VM's processors.
type Processor struct {
	Count  uint32 `json:"Count"`
	Limit  uint64 `json:"Limit,omitempty"`  // of each, in 1/1000 of a percent: 1 to 100000
	Weight uint64 `json:"Weight,omitempty"` // next to other VMs: 1 to 10000, 100 by default
}

// Devices are the devices that a VM has from the start.
type Devices struct {
	Scsi     map[string]Scsi    `json:"Scsi"` // by GUID, which is the controller's VMBus instance id
	HvSocket HvSocket           `json:"HvSocket"`
	ComPorts map[string]ComPort `json:"ComPorts,omitempty"` // by number: 0, 1
}

// Scsi is a SCSI controller.
type Scsi struct {
	Attachments map[string]Attachment `json:"Attachments,omitempty"` // by LUN
}

// Attachment is a disk.
type Attachment struct {
	Type     string `json:"Type"` // "VirtualDisk": a VHD or VHDX, told by its name
	Path     string `json:"Path"`
	ReadOnly bool   `json:"ReadOnly"`
	// The three let a disk lie on a compressed volume (build 19041), and be a sparse or an
	// encrypted file (build 22000).
	SupportCompressedVolumes bool `json:"SupportCompressedVolumes,omitempty"`
	AlwaysAllowSparseFiles   bool `json:"AlwaysAllowSparseFiles,omitempty"`
	SupportEncryptedFiles    bool `json:"SupportEncryptedFiles,omitempty"`
}

// VirtualDisk is the Type of an Attachment that is a file.
const VirtualDisk = "VirtualDisk"

// ComPort is a serial port whose bytes go through a named pipe that the host serves.
type ComPort struct {
	NamedPipe string `json:"NamedPipe"`
}

// HvSocket says who may use the VM's sockets.
type HvSocket struct {
	HvSocketConfig HvSocketSystemConfig `json:"HvSocketConfig"`
}

// HvSocketSystemConfig is for all services of the VM. Descriptors are SDDL: Bind is for
// processes of the host that listen for the guest, Connect for those that dial it.
type HvSocketSystemConfig struct {
	DefaultBindSecurityDescriptor    string                           `json:"DefaultBindSecurityDescriptor"`
	DefaultConnectSecurityDescriptor string                           `json:"DefaultConnectSecurityDescriptor"`
	ServiceTable                     map[string]HvSocketServiceConfig `json:"ServiceTable,omitempty"` // by service GUID
}

// HvSocketServiceConfig is for one service.
type HvSocketServiceConfig struct {
	BindSecurityDescriptor    string `json:"BindSecurityDescriptor"`
	ConnectSecurityDescriptor string `json:"ConnectSecurityDescriptor"`
	AllowWildcardBinds        bool   `json:"AllowWildcardBinds"`
	Disabled                  bool   `json:"Disabled"`
}

// RestoreState makes a VM from a saved one.
type RestoreState struct {
	SaveStateFilePath string `json:"SaveStateFilePath"`
}

// ModifyRequest changes a compute system that runs (ModifySettingRequest).
type ModifyRequest struct {
	ResourcePath string `json:"ResourcePath"`
	RequestType  string `json:"RequestType"` // RequestAdd, RequestRemove or RequestUpdate
	Settings     any    `json:"Settings,omitempty"`
}

// Kinds of a ModifyRequest.
const (
	RequestAdd    = "Add"
	RequestRemove = "Remove"
	RequestUpdate = "Update"
)

// AttachmentPath is the resource of a LUN of a controller.
func AttachmentPath(controller string, lun uint32) string {
	return fmt.Sprintf("VirtualMachine/Devices/Scsi/%s/Attachments/%d", controller, lun)
}

// NetworkAdapterPath is the resource of a NIC, whose GUID is its VMBus instance id.
func NetworkAdapterPath(nic string) string { return "VirtualMachine/Devices/NetworkAdapters/" + nic }

// Resources of a VM's size. The settings of MemoryPath are a number of MB, even; those of
// ProcessorLimitsPath (build 19042) ProcessorLimits.
const (
	MemoryPath          = "VirtualMachine/ComputeTopology/Memory/SizeInMB"
	ProcessorLimitsPath = "VirtualMachine/ComputeTopology/Processor/Limits"
)

// NetworkAdapter is a NIC on an HNS endpoint.
type NetworkAdapter struct {
	EndpointId string `json:"EndpointId"`
	MacAddress string `json:"MacAddress"` // such as 00-15-5D-12-34-56
}

// ProcessorLimits are as in Processor; all are set at once.
type ProcessorLimits struct {
	Limit  uint64 `json:"Limit"`
	Weight uint64 `json:"Weight"`
}

// SaveOptions say where a VM is saved.
type SaveOptions struct {
	SaveType          string `json:"SaveType"` // "ToFile"
	SaveStateFilePath string `json:"SaveStateFilePath"`
}

// encode is a document as HCS is sent it.
func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // SDDL and paths as they are
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode HCS document: %w", err)
	}
	return string(bytes.TrimRight(b.Bytes(), "\n")), nil
}
