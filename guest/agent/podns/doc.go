// Package podns makes a pod's namespaces and acts in them: names, sysctls, network,
// and connections to the pod's loopback.
//
// The namespaces live as long as a pause process, which is a child of the agent and
// PID 1 of the pod's PID namespace. To act in them a goroutine is locked to a thread
// that joins them; the thread ends with the goroutine and is never used again. Package
// main keeps the main thread out of this, since /proc/self shows that thread.
//
// All is safe for concurrent use. It is Linux-only.
package podns
