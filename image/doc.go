// Package image pulls images, keeps them, and makes their layers ready for utility
// VMs: each layer is one read-only ext4 file system in a fixed VHD, named by its diff
// ID, written once and shared by all that use it.
//
// A Store owns one folder:
//
//	content/            blobs and unfinished downloads (containerd's content store)
//	layers/             sha256-<diff id, or id of merged layers>.v<format>.vhd, mode 0444; .tmp-* while being written
//	images/             one record an image, named by the image's id
//	holds/              one record a holder, see Prepare
//
// It is made by Open, which clears what a crash left, and used until Close. All of its
// methods are safe for concurrent use. Work on one blob or layer is done once however
// many callers want it, and goes on while one of them waits.
//
// An image is known by its id (the digest of its config), by its names and by the
// digests it was pulled as. Remove takes the image away whatever it was called; its
// files stay until the last holder has let go.
//
// The package knows no sandboxes and no CRI types.
package image
