// Package layer turns one layer of an OCI image, a tar stream that may be
// compressed, into a read-only ext4 file system inside a fixed VHD, in one pass.
//
// The result is what overlayfs expects of a lower folder: whiteouts are character
// devices 0/0, opaque folders carry trusted.overlay.opaque, hard links, extended
// attributes and device nodes are kept. The ext4 writer (package ext4) can
// only append, so it is told of a normal form of the tar: one entry a
// path, parents first, links after what they link to. A layer that names a path
// twice, or replaces a file by a folder, cannot be put in order without knowing its
// end; such layers (they are few) are read a second time, guided by the tree that the
// first reading built. No layer is held in memory, only its names, with about a hundred
// bytes for each.
//
// Merge makes one file system of several layers, which shows and hides in a stack what they
// do one on another. It makes the tree of each as Convert does, lays the trees on one another
// by the rules of overlayfs, and then reads the layers once more for their contents.
//
// The image's root is the folder Root of the file system, not the file system's own:
// ext4 must have a lost+found there, which no container should see, and which an image
// may hold, replace or hide as it likes.
//
// The input is foreign: paths that climb out of the image, links without a target,
// and bounds of size, count and depth are checked, and errors name the entry.
//
// The package knows no registries, references or stores. Convert is safe for
// concurrent use on different files.
package layer
