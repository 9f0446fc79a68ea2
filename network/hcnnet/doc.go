// Package hcnnet is the Windows host's side of pods' networks: a network.Host whose
// namespaces are HCN namespaces, in which CNI plugins put endpoints of the Host Network
// Service (HNS). A VM takes an endpoint as a network adapter by its id.
//
// It is not for calling plugins (package network does that) nor for the VM's adapter
// (the VM driver adds it). It makes no HNS networks: the node's network agent does.
//
// # What counts
//
// HNS forwards only what matches the endpoint, so MAC, addresses and routes are read back
// from the endpoint, and the plugins' result fills what the endpoint leaves open: merge.go
// has the rules, testdata the results of each family of plugins.
//
// # Life cycle
//
// What Create and Read make is written to a file per pod, the namespace's id before the
// namespace is made: HNS keeps no name with a namespace. Remove deletes what the file
// names, what is in the namespace, and, when ADD was cut short, endpoints that carry the
// pod's id in their name. Check tells which pods have lost what HNS should hold for them,
// as after a restart of HNS.
//
// All logic is portable over the interface HNS; hns_windows.go adapts the library, and
// package hnsfake is an HNS in memory. A Host is safe for concurrent use.
package hcnnet
