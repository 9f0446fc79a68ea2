// Package device tells what of hardware the guest's kernel has for containers: devices, for
// which it loads the drivers, and huge pages. It is safe for concurrent use.
package device
