// Package hcsemu is an HCS for Wine: a test double of Windows' Host Compute Service, of its
// host network service and of what of its virtual disks Porthole uses, with which
// porthole.exe runs real pods on a Linux machine under Wine. It is no Hyper-V: docs/windows.md lists
// what only a real host can prove.
//
//	porthole.exe (Wine)                                 this process (Linux)
//	  computecore.dll ──┐                          ┌── internal/hcs/hcsfake: schema, states,
//	  computenetwork.dll├─ loopback TCP, one ──────┤     operations, handles, access
//	  vmcompute.dll     │  connection a call       ├── QEMU, one a VM: disks, NICs
//	  virtdisk.dll ─────┘                          └── hvsock: the guest's streams
//
// The DLLs (folder dll) are small and forward each call; what must be in the caller's
// process they do themselves: callbacks, the far end of COM1's pipe, and AF_HYPERV, which they lead
// to the service by the table of what ws2_32.dll exports. Porthole has nothing for this lane.
//
// A process's session is a connection that lives as long as it: when it ends, its handles
// are closed, as Windows does, and a VM that is to end with its last handle does.
//
// The guest is the same initrd: it finds virtio in place of VMBus, and its agent then listens
// on the virtio port, whose streams stand for hvsock. kernelArgs tells what is changed of the
// document's command line. QEMU's microvm hot-adds no NIC, so that a VM has some that wait, whose
// addresses are known from the VM's id; HNS gives them to the endpoints of that VM's pod.
//
// Start makes a Service, which lives until Close. It is safe for concurrent use.
package hcsemu
