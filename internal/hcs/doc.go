// Package hcs speaks to the Host Compute Service of Windows (computecore.dll), which runs
// Hyper-V's utility VMs: the JSON documents of schema 2.1 that Porthole sends, the
// properties, events and errors that come back, and the life of operations.
//
// It is not for what a VM is made of, which package sandbox/hcsvm decides, nor for networks
// (HNS has its own service). All but the calls themselves is portable: Library is
// computecore.dll as Go sees it, Open loads the real one, and tests put another in its place.
//
//	Open ──▶ Library ──▶ New ──▶ Host ── Create, Open ──▶ System ── Close
//
// Each call is an operation. HCS has no way to cancel one, and letting go of one that runs
// has brought processes down, so that none ever is: a call whose context ends returns, while
// a goroutine that the System (for Create and Open, the Host) owns waits for the operation's
// end and cleans up behind it. Closing either waits for those.
//
// Events come on a thread of HCS, with a number that names the System. They are copied
// and queued there, and a goroutine of the System hands them to its handler, one by one: the handler
// may call HCS, and a number that nobody has any more is passed over.
//
// Host and System are safe for concurrent use.
package hcs
