// Package debimage builds OCI images from Debian packages and files, for tests and the
// demo, on machines that reach Debian's archive and no registry.
//
// Packages are fetched by apt, which checks Debian's signatures, and are kept in a
// cache folder. The same packages and files always give the same image. Build takes
// packages of the machine's own suite and resolves no dependencies: name all that are
// wanted, or use static programs. An Archive resolves them, in any suite, and Layer makes
// one cached layer of the outcome.
package debimage
