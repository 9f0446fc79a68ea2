package ntfs

import "github.com/porthole-run/porthole/share/ntfs/ntapi"

// Open shows the folder or file at a Win32 path. The path's own links are followed: it is
// the host's. Options.Path is the path when it is empty.
func Open(path string, o Options) (*Backend, error) {
	root, err := ntapi.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if o.Path == "" {
		o.Path = path
	}
	return New(root, o)
}
