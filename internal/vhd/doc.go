// Package vhd makes what a raw disk needs at its end to be a VHD of a fixed size, which Hyper-V and QEMU attach
// (Virtual Hard Disk Image Format Specification 1.0). It is not for dynamic disks, nor for
// VHDX, which Windows makes itself.
//
// Its functions have no state.
package vhd
