package hcsvm

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/sandbox"
)

// Owner is the owner of Porthole's VMs in HCS.
const Owner = "porthole"

// Security descriptors of sockets and pipes, in SDDL: SYSTEM and Administrators, and nobody.
const (
	adminsOnly = "D:P(A;;FA;;;SY)(A;;FA;;;BA)"
	nobody     = "D:P(D;;FA;;;WD)"
)

// machine is all that a VM's document depends on.
type machine struct {
	vcpus       int
	memoryMiB   int // even
	kernel      string
	initrd      string
	commandLine string              // of the bundle
	console     string              // the pipe behind COM1
	ports       []uint32            // that the host may dial
	restore     string              // a saved state; empty: boot
	disks       []sandbox.SavedDisk // of a saved state
}

// document is the VM's document. It is pure: the same machine gives the same document.
func (m machine) document() hcs.ComputeSystem {
	services := make(map[string]hcs.HvSocketServiceConfig, len(m.ports))
	for _, p := range m.ports {
		services[hvsock.ServiceID(p)] = hcs.HvSocketServiceConfig{
			BindSecurityDescriptor:    nobody,
			ConnectSecurityDescriptor: adminsOnly,
		}
	}
	controllers := make(map[string]hcs.Scsi, len(api.SCSIControllers))
	for _, c := range api.SCSIControllers {
		controllers[c] = hcs.Scsi{}
	}
	for _, d := range m.disks { // the state has them, so that the machine must
		name := api.SCSIControllers[d.Address.Controller]
		c := controllers[name]
		if c.Attachments == nil {
			c.Attachments = map[string]hcs.Attachment{}
		}
		c.Attachments[fmt.Sprint(d.Address.LUN)] = attachment(d.Disk)
		controllers[name] = c
	}
	d := hcs.ComputeSystem{
		Owner:                             Owner,
		SchemaVersion:                     hcs.Version{Major: 2, Minor: 1},
		ShouldTerminateOnLastHandleClosed: true,
		VirtualMachine: hcs.VirtualMachine{
			StopOnReset: true,
			Chipset: hcs.Chipset{
				UseUtc: true,
				LinuxKernelDirect: hcs.LinuxKernelDirect{
					KernelFilePath: m.kernel, InitRdPath: m.initrd, KernelCmdLine: m.kernelArgs(),
				},
			},
			ComputeTopology: hcs.ComputeTopology{
				// Memory costs the host what the guest has touched and not given back, in
				// pages of 4 KiB. A fault brings in 2^4 of them.
				Memory: hcs.Memory{
					SizeInMB:                       uint64(m.memoryMiB),
					AllowOvercommit:                true,
					EnableDeferredCommit:           true,
					EnableColdDiscardHint:          true,
					BackingPageSize:                "Small",
					FaultClusterSizeShift:          4,
					DirectMapFaultClusterSizeShift: 4,
				},
				Processor: hcs.Processor{Count: uint32(m.vcpus)},
			},
			Devices: hcs.Devices{
				Scsi: controllers,
				HvSocket: hcs.HvSocket{HvSocketConfig: hcs.HvSocketSystemConfig{
					DefaultBindSecurityDescriptor:    nobody,
					DefaultConnectSecurityDescriptor: nobody,
					ServiceTable:                     services,
				}},
				ComPorts: map[string]hcs.ComPort{"0": {NamedPipe: m.console}},
			},
		},
	}
	if m.restore != "" {
		d.VirtualMachine.RestoreState = &hcs.RestoreState{SaveStateFilePath: m.restore}
	}
	return d
}

// kernelArgs is the kernel command line: the bundle's, then what this machine needs.
func (m machine) kernelArgs() string {
	need := []string{
		// hv_sock is to have AF_VSOCK, whatever else the kernel has for it.
		"initcall_blacklist=virtio_vsock_init",
		"8250_core.nr_uarts=1", "8250_core.skip_txen_test=1", "console=ttyS0,115200",
		// With StopOnReset a panic's reboot is the end.
		"panic=-1",
		"pci=off", "pmtmr=0", // there is neither
		fmt.Sprintf("nr_cpus=%d", m.vcpus),
		"hv_utils.timesync_implicit=1",
		// Free memory is reported, and so given back, in pieces of 128 KiB.
		"page_reporting.page_reporting_order=5",
	}
	words := strings.Fields(m.commandLine)
	have := make(map[string]bool, len(words))
	for _, w := range words {
		have[w] = true
	}
	for _, n := range need {
		if !have[n] {
			words = append(words, n)
		}
	}
	return strings.Join(words, " ")
}

// systemID is a VM's id in HCS: a GUID, which then is the address of its sockets too. An id
// of 32 hex digits, as pods' are, is one already but for its dashes.
func systemID(id string) string {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 || strings.ToLower(id) != id {
		b = named(id)
	}
	return formatGUID(b)
}

// named makes a GUID from a name (RFC 9562, version 5). Its namespace is Porthole's own.
func named(name string) []byte {
	sum := sha1.Sum(append([]byte("porthole vm 36d1"), name...))
	b := sum[:16]
	b[6] = b[6]&0x0F | 0x50
	b[8] = b[8]&0x3F | 0x80
	return b
}

func formatGUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// nicID is the GUID of a NIC of a VM, its instance id on the guest's bus.
func nicID(vmID, name string) string { return formatGUID(named(vmID + "/" + name)) }

// workerSID is the account of a VM's worker process, NT VIRTUAL MACHINE\<GUID>: S-1-5-83-1
// and the GUID as Windows has it in memory, in words of 32 bits, little endian.
func workerSID(vmID string) (string, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(vmID, "-", ""))
	if err != nil || len(b) != 16 {
		return "", fmt.Errorf("%q is no GUID", vmID)
	}
	le := binary.LittleEndian
	words := []uint32{
		binary.BigEndian.Uint32(b),
		uint32(binary.BigEndian.Uint16(b[6:]))<<16 | uint32(binary.BigEndian.Uint16(b[4:])),
		le.Uint32(b[8:]), le.Uint32(b[12:]),
	}
	return fmt.Sprintf("S-1-5-83-1-%d-%d-%d-%d", words[0], words[1], words[2], words[3]), nil
}

// consolePipe is the pipe of a VM's console and who may open it: its worker, which writes, and
// those who may do all.
func consolePipe(vmID string) (path, sddl string, err error) {
	sid, err := workerSID(vmID)
	if err != nil {
		return "", "", err
	}
	return `\\.\pipe\porthole-` + vmID + `-com1`, adminsOnly + "(A;;FRFW;;;" + sid + ")", nil
}

// diskPath is the resource of a disk.
func diskPath(a sandbox.DiskAddress) string {
	return hcs.AttachmentPath(api.SCSIControllers[a.Controller], a.LUN)
}
