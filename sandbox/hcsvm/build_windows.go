package hcsvm

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// hostBuild is the version of Windows, to which states of VMs belong.
func hostBuild() string {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("Windows %d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
}
