package shim

import "time"

// Limits of what one peer can make the shim hold or wait for.
const (
	defaultStartTimeout = 60 * time.Second
	undoTimeout         = 15 * time.Second // for taking back what a failed call did
	stopTimeout         = 20 * time.Second // for ending the VM
	settleTimeout       = 20 * time.Second // for unmounting its volumes before

	drainQuiet   = 2 * time.Second  // silence after an exit that ends a process's output
	drainLimit   = 60 * time.Second // longest wait for the output after an exit
	attachBuffer = 1 << 20          // bytes an attached client may lag behind
	attachStall  = 2 * time.Second  // time it has to make room when it lags that much
	flushTimeout = 10 * time.Second // for the rest of the buffer once the output has ended
	copyBuffer   = 32 << 10

	maxMounts  = 256             // of a container
	shareDrain = 2 * time.Second // for what a share's guest sends after it has unmounted it

	maxParkedStreams = 256              // opened, not yet named by a call
	parkTimeout      = 20 * time.Second // how long they may stay so
	headerTimeout    = 10 * time.Second

	firstSizeTimeout = 200 * time.Millisecond // for the size of a terminal before its process starts

	clockCheck = time.Minute // compares the guest's clock with the host's

	maxErrorText = 16 << 10 // of an error that goes to the daemon, console tail included
)

// What the process allows itself.
const (
	shimProcs       = 2
	shimMemoryLimit = 32 << 20 // of Go's heap and stacks; soft
	shimGCPercent   = 50

	shareMemoryLimit = 192 << 20 // in place of shimMemoryLimit once shares are served
	shimOOMScore     = -900
)
