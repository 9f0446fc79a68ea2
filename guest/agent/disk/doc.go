// Package disk finds hot-added SCSI disks and mounts what containers' root file systems
// are made of: layers, the scratch, overlays.
//
// A disk is known by controller and LUN alone. It shows some time after the host added
// it, and its device node some time before it can be read, so finding waits. All is safe
// for concurrent use. It is Linux-only.
package disk
