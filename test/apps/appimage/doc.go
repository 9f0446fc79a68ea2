// Package appimage builds the images of the applications that are tested on shares, from
// Debian's packages with all that they depend on.
//
// No maintainer script runs. What one would have done is done here by hand: users,
// folders that a daemon expects, and a configuration that is small and says where the
// data lies. All images of one suite share the layer with the shell and its tools.
//
// Packages and layers are kept in the cache folder, by content, so that building an image
// again costs no more than reading it.
package appimage
