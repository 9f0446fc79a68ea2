// Package qemuvm makes utility VMs with QEMU on Linux: it implements sandbox.Driver.
//
// It is not for what runs in the guest, and not for who owns a VM: the shim calls it.
// It writes no files but locks, and QEMU opens none by path: kernel, initrd, a template's memory, disks, the taps, and
// the sockets for control, console and management are passed as descriptors. QEMU runs
// as a user that no other VM has, without capabilities, in empty network and IPC
// namespaces, under its seccomp sandbox, and dies with the process that started it.
//
// The life of a VM:
//
//	         Create            Start                  end (for whatever reason)
//	nothing ───────▶ created ───────▶ running ─────────────────▶ ended
//	                    │                                          ▲
//	                    └────────────────── Stop ──────────────────┘
//
// The machine is microvm, which hot-adds disks (SCSI) and serial ports (channels) only: the NIC, the control port
// and the rest are there from boot, and the NIC's link is down until AttachNIC. A VM for
// several pods has as many waiting NICs as it may hold pods, each with a tap.
//
// The guest has opened its control port when QEMU says so (VSERPORT_CHANGE): what is
// written before is lost, so the mux starts then and is ready when the agent has
// answered its first ping. Dial waits for that.
//
// A driver is a sandbox.Cloner too. A template's memory is in a file that QEMU maps shared;
// its state goes through a pipe (x-ignore-shared leaves memory out). A clone's QEMU maps
// the file privately, is given the state, and has no kernel to load. Free pages of clones
// do not go back to the host: QEMU does that by punching holes into the file.
//
// One goroutine owns each VM from Start to its end (VM.own); it waits for QEMU, the
// console, and the mux, and closes Done last. A Driver and its VMs are safe for
// concurrent use.
package qemuvm
