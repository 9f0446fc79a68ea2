package hcsfake

import (
	"fmt"
	"strings"
)

// VM is a running system as its guest sees it.
type VM struct {
	service *Service
	system  *system
}

// ID is the system's id.
func (v *VM) ID() string { return v.system.id }

// Ended is closed when the VM has ended.
func (v *VM) Ended() <-chan struct{} { return v.system.ended }

// Pipe is the host's pipe behind a serial port; empty when there is none.
func (v *VM) Pipe(port string) string {
	p, _ := at(v.system.doc, "VirtualMachine", "Devices", "ComPorts", port, "NamedPipe").(string)
	return p
}

// KernelArgs is the guest's kernel command line.
func (v *VM) KernelArgs() string {
	s, _ := at(v.system.doc, "VirtualMachine", "Chipset", "LinuxKernelDirect", "KernelCmdLine").(string)
	return s
}

// Disk returns the file behind a LUN of a controller.
func (v *VM) Disk(controller, lun string) (path string, readOnly, ok bool) {
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	d, ok := v.system.disks[controller+":"+lun]
	return d.path, d.readOnly, ok
}

// MACs are the addresses of the VM's NICs, in no order.
func (v *VM) MACs() []string {
	v.service.mu.Lock()
	defer v.service.mu.Unlock()
	var out []string
	for _, n := range v.system.nics {
		out = append(out, n["MacAddress"].(string))
	}
	return out
}

// Crash is the guest's panic; Exit its power-off.
func (v *VM) Crash(log string) { v.service.Crash(v.system.id, log) }

// Exit ends the VM by itself.
func (v *VM) Exit() { v.service.Exit(v.system.id, "GracefulExit") }

// Connectable tells whether SYSTEM may dial a service of the VM.
func (v *VM) Connectable(service string) bool {
	sd, _ := at(v.system.doc, "VirtualMachine", "Devices", "HvSocket", "HvSocketConfig", "ServiceTable", service, "ConnectSecurityDescriptor").(string)
	return strings.Contains(sd, "(A;;FA;;;SY)")
}

// Size is what the system's document says of memory, in MB, and of processors.
func (v *VM) Size() (megabytes, processors string) {
	topology := at(v.system.doc, "VirtualMachine", "ComputeTopology")
	return fmt.Sprint(at(topology, "Memory", "SizeInMB")), fmt.Sprint(at(topology, "Processor", "Count"))
}

// Boot is what LinuxKernelDirect says; paths are of this process.
func (v *VM) Boot() (kernel, initrd, commandLine string) {
	direct := at(v.system.doc, "VirtualMachine", "Chipset", "LinuxKernelDirect")
	get := func(key string) string {
		s, _ := at(direct, key).(string)
		return s
	}
	if initrd = get("InitRdPath"); initrd != "" {
		initrd = v.service.local(initrd)
	}
	return v.service.local(get("KernelFilePath")), initrd, get("KernelCmdLine")
}
