// Package debimage builds OCI images from Debian packages and files, for tests and the
// demo, on machines that reach Debian's archive and no registry.
//
// Packages are fetched by apt, which checks Debian's signatures, and are kept in a
// cache folder. The same packages and files always give the same image. It resolves no
// dependencies: name all packages that are wanted, or use static programs.
package debimage
