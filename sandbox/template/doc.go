// Package template keeps, in the daemon, what VMs are cloned from: for each size of VM in
// use one that was booted to an idle agent and saved.
//
// It is not for how a VM is saved or cloned, which a driver does, nor for who gets a
// clone: the shim's Launcher takes a template when there is one and boots a VM when there
// is none. A VM waits for a template only while one is made that it is likely to get
// sooner than it would boot, as the first one does after the daemon's start.
//
// A template's memory and state are in memory files, sealed against changes. The Keeper
// holds them open and hands copies of the descriptors out; clones that run need neither it
// nor the daemon. The files go with the daemon's process, and the next one makes templates
// anew.
//
//	          asked for, or kept      built                inputs changed, a clone failed
//	unknown ────────────────▶ waiting ──────▶ ready ─────────────────────┐
//	                             ▲  │ failed                             │
//	                             │  ▼                                    │
//	                             └ failed (until its time to try again) ◀┘
//
// What templates are made from is told by Config.Files and Config.Facts. When a file is
// not what it was, templates are not used until its digest is known to be the same, and
// are made anew when it is not.
//
// A Keeper and its Leases are safe for concurrent use. One goroutine builds, one template
// at a time, from Start to Close.
package template
