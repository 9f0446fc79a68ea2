// Package hcsvm makes utility VMs with the Host Compute Service of Windows (Hyper-V): it
// implements sandbox.Driver.
//
// It is not for what runs in the guest, and not for who owns a VM: the shim calls it.
// All of it is portable but for what it is given: the service (internal/hcs), the sockets to the
// guest (internal/hvsock), the console's pipe and the making of VHDX files, which are there on
// Windows only. Tests run it over a strict fake of the service (internal/hcs/hcsfake).
//
// The life of a VM:
//
//	         Create            Start                  end (for whatever reason)
//	nothing ───────▶ created ───────▶ running ─────────────────▶ ended
//	                    │                                          ▲
//	                    └──────────── Stop, crash ─────────────────┘
//
// A VM's id in HCS is a GUID: the pod's own id where that has 32 hex digits, else one made from it.
// Its document (document.go) names Porthole as the owner and has HCS end it with the last handle, which
// the VM holds: a process that dies takes its VMs with it. What is left all the same, such as when
// the service itself went away, EndLeftovers finds by its owner.
//
// Nobody may use the VM's sockets but SYSTEM and Administrators, who may dial the agent's ports.
// The guest listens; Dial tries again until it does. A disk is on one of four controllers,
// whose GUIDs the guest knows (guest/api). Read-only files are for all VMs to read,
// others for one VM until they are detached. A NIC is an endpoint of HNS, hot-added.
//
// One goroutine owns each VM from Create to its end (VM.own). It waits for the VM's exit, the
// console and the calls that run, and closes Done last. No call of HCS is let go of while it runs: one
// whose context has ended goes on behind, and what it made is undone. A Driver and its VMs
// are safe for concurrent use.
package hcsvm
