package image

import "io/fs"

// allocated is the room that a file takes on the disk. Layers have no holes here:
// Hyper-V does not attach sparse files.
func allocated(fi fs.FileInfo) int64 { return fi.Size() }
