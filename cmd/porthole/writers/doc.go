// Package writers tells who beside the system itself may change what is in a folder whose
// files the daemon runs or obeys, such as CNI's plugins: who may put a file there has it run
// with the daemon's rights, on Windows SYSTEM's and elsewhere root's.
//
// It is not for the daemon's own folders, which internal/privatedir closes. Look reads what
// the host says; ACL and Mode, which say who writes, are data, so that they are judged on any
// machine. Functions may be called from any goroutine.
package writers
