// Package ntfs is the share.Backend of a folder or file on NTFS, with POSIX meaning that
// WSL agrees with: owners, modes and device numbers in its extended attributes, types in
// its reparse tags, names in its mapping. It works on ntapi.Handle: Windows' own, or
// share/ntfs/ntfake's, over which its tests run. It does not lock (share/lock does), and
// it serves no FAT and no file system of a network; ReFS as far as that goes.
//
// # How it is built
//
// A file is opened relative to a directory by one name, or by its id; links are never
// followed, and what was found must have the very name that was asked for, not another
// case or an 8.3 alias of it. New folders get NTFS's flag for case, others when a guest
// first makes something in them.
//
// NTFS renames no directory that has a handle open below. So nodes hold none: each call
// opens the file by its id, under Backend.tree held to read. A directory's rename takes
// tree to write, closes the guests' open files below and opens them again by their id.
// Files that have lost their last name cannot be opened by id any more: a handle of
// theirs is kept from just before until the last node goes. One that the host removes
// goes on in the files that guests have open, and is ESTALE to others.
//
// NTFS tells the time of a write when the handle closes. A stat that comes first has the
// time set through the handles that wrote; times set by guests are set through all of
// them, which stops NTFS from setting its own until the next write.
//
// Extended attributes of guests are in one of NTFS', LXCRI.XATTR, as NTFS upper-cases
// names and has 64 KiB for all. Renames that exchange, and those of a folder over an
// empty one, go in steps under tree, each undone when a later fails; programs of the host
// can see the steps. A server that is killed between leaves a name that begins with
// U+F000: of a file without a name, which the next server removes, or of one that had
// a name before the step: it stays on the host, listings do not show it, and an
// administrator has to name it again.
//
// Methods are safe for concurrent use. One goroutine reads notices from the first Watch
// on until Close, which waits for it.
//
// # Falls short of POSIX
//
// Where NTFS refuses the case flag, two names that differ in case alone cannot be
// (EEXIST). A name that is another file's 8.3 alias cannot be made (EEXIST). A file that
// a program of the host has to itself, deletes or runs is EBUSY after 200 ms, as is the
// rename of a folder that the host or another VM has files open in. 1024 names per file
// (EMLINK). Extended attributes take 64 KiB in all (ENOSPC). fallocate reserves past the
// end only, not in holes. Folders of more than 4096 entries have the link count 1, "not
// known". Changes of the host's have no origin, and of content and attributes one event.
//
// # Unproven
//
// No NTFS was at hand: the following is from documents, and the fake takes the harder
// answer where there are two. On Windows "porthole selftest" has a row for each (ntfs-…), and
// "porthole share selftest DIR" runs the score card's checks over a folder of the user's; each line
// says what it would show, by the groups of checks.
//
//   - FileStatLxInformation for a user's process, with the rights to read attributes and
//     extended attributes: else all checks fail, with STATUS_INVALID_INFO_CLASS or
//     STATUS_ACCESS_DENIED.
//   - Extended attributes and a reparse point on one file, as WSL has them: "mknod" and
//     "symlink" lose owner and mode, or fail with STATUS_EAS_NOT_SUPPORTED.
//   - FSCTL_SET_REPARSE_POINT with no data for sockets, FIFOs and devices: "mknod" fails
//     with STATUS_IO_REPARSE_DATA_INVALID.
//   - FileCaseSensitiveInformation without further rights, and on folders that are not
//     empty: "paths" gets EEXIST for names that differ in case.
//   - FileNormalizedNameInformation of a file opened by one of several links gives that
//     one: "link" and "unlink" get ENOENT for names that are there.
//   - An empty name relative to a handle opens the handle's own file, also one without a
//     name: "unlink" and "handles" fail on files that are open.
//   - A file whose last name went by a POSIX delete has NumberOfLinks 0, reads, writes and
//     takes attributes until its last handle closes: "unlink", "rename" over open files.
//   - A directory renames when none below has a handle, and parked files open by id
//     after: "rename" and "handles" get EBUSY for folders with open files.
//   - Which of an explicit LastWriteTime and the lazy one of another handle stays, and -2
//     after an explicit time: "utimens" sees times that move by themselves or stand still.
//   - NtFlushBuffersFileEx on a directory opened to add files: fsync of a folder fails with
//     STATUS_ACCESS_DENIED or STATUS_INVALID_DEVICE_REQUEST; no group of checks has it.
//   - FSCTL_SET_ZERO_DATA gives ranges of 64 KiB back, and an allocation past the end stays
//     until the close: "fallocate" sees other blocks than it reserved.
//   - A name that is an 8.3 alias in a folder with the case flag: "paths" finds what
//     nobody made.
//   - The rights of a service without SeBackupPrivilege: "chown" and "open" get EACCES
//     for files that another user of the host has made.
//   - NtNotifyChangeDirectoryFileEx gives parent ids, and a move between folders as a
//     removal and an addition of one id, one after the other: no check of the card sees
//     it; inotify in a guest misses what the host does, or tells a rename as two events.
package ntfs
