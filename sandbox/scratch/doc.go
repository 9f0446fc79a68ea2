// Package scratch makes the writable disks of pods: sparse files that hold an empty
// ext4 file system.
//
// A file system of each size is made once, as a template, by the host's mkfs.ext4; a
// pod's disk is a copy of it that takes no more space and time than what mkfs wrote
// (or shares even that, where the host's file system can). Where there is no mkfs.ext4
// the disk is blank, and the guest makes the file system, which takes longer.
//
// It implements sandbox.Scratch. A Disks is made by New, has nothing to close, and is
// safe for concurrent use.
package scratch
