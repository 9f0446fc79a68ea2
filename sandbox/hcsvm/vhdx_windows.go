package hcsvm

import (
	"syscall"

	"github.com/Microsoft/go-winio/vhd"
)

// createVHDX makes a dynamic VHDX; virtdisk.dll takes the format from the name.
func createVHDX(path string, bytes uint64) error {
	h, err := vhd.CreateVirtualDisk(path, vhd.VirtualDiskAccessNone, vhd.CreateVirtualDiskFlagNone, &vhd.CreateVirtualDiskParameters{
		Version:  2,
		Version2: vhd.CreateVersion2{MaximumSize: bytes, BlockSizeInBytes: vhdxBlock, SectorSizeInBytes: vhdxSector},
	})
	if err != nil {
		return err
	}
	return syscall.CloseHandle(h)
}
