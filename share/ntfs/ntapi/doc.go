// Package ntapi has the file calls of Windows NT that a POSIX file server on NTFS needs,
// as typed Go methods: open relative to a handle with extended attributes, ask and set
// information, rename, link and delete by POSIX semantics, reparse points, sparse ranges,
// directory listings with ids, and change notices. Handle is the whole of it; the Windows
// implementation is OpenRoot's, and share/ntfs/ntfake has one in memory.
//
// The package gives no meaning to what it carries: owners, modes and the mapping of
// names are share/ntfs's. Layouts and codecs are plain Go and are built and tested on
// any system; only files named _windows.go call the system.
//
// A Handle is open until its Close. Its methods may be called from any goroutine, Close
// only when none runs but ReadChanges, which Close ends. Sources: the Windows driver kit's
// ntifs.h and ntstatus.h, [MS-FSCC] and [MS-ERREF].
package ntapi
