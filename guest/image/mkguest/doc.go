// Mkguest builds the guest bundle that package image describes, on Debian 12
// as root:
//
//	go run ./guest/image/mkguest --out DIR --cache DIR --agent FILE [--kernel debian|small]
//
// What goes into the guest comes from Debian's archive, fetched by apt, which
// checks the signatures, with a configuration of this program's own: its lists
// lie in the cache, source packages are enabled and only Debian's keyring
// counts. pins.json names each package by version and digest. When the
// archive no longer has a pinned version (a security update replaced it), the
// newer one is taken, a warning says so and the manifest marks the part as
// not pinned; --update-pins accepts the archive's state. Another digest for
// the same version is always an error.
//
// Programs for the guest are built from source packages by the scripts in
// recipe/, statically, against the C library of the pinned packages instead of
// the machine's. Only the compiler, with its small run-time library, is the
// machine's; the same compiler makes the same bytes. What has been fetched and
// built stays in the cache, named by the digest of all that it depends on, so
// a second run needs no network and takes under a second. Tools that the
// machine lacks are installed with apt-get. The small kernel takes about 12
// CPU minutes, once.
//
// Everything is made in a temporary folder and renamed when it is whole; a
// run that is cut short leaves no half of anything under its final name.
// Several runs may share a cache.
package main
