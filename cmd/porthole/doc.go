// Porthole runs Kubernetes pods in utility VMs.
//
// `porthole serve` is the daemon; the other sub-commands look at a configuration, a
// machine, a guest bundle or the image store. This package only wires: each sub-command
// is a file, flags and exit codes are in command.go and exit.go, and the adapters that
// make one package's methods fit another's interface are in adapters.go.
package main
