// Package drivertest helps to test what makes utility VMs and what uses them: Suite
// checks any sandbox.Driver against the contract in sandbox/vm.go, Fake is a driver
// whose VMs are data, and Guest builds the small guest that Suite boots in real VMs.
//
// It is for tests only. Suite and the fake's guest speak the protocol of package wire
// (ports for echo, disks, link and ends), not the agent's.
//
// A Fake and its VMs are safe for concurrent use, as real ones are.
package drivertest
