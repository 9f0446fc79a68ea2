// Package ntfake is an NTFS volume in memory behind ntapi.Handle, as strict as the real
// one where a POSIX server can go wrong: sharing modes, names found in another case or by
// their 8.3 alias, per-directory case flags, deletes that are pending, refusal to rename a
// directory with open files below or to replace a directory, times written late, stale
// directory entries, one bound for all extended attributes, 1024 links, read-only files,
// sparse ranges of 64 KiB, a disk that fills, notices that overflow. Where the real thing
// is not known (share/ntfs says what), it takes the harder answer.
//
// It has no security descriptors, streams, oplocks, byte-range locks, compression or
// transactions, and does not keep the order of calls on one asynchronous handle.
//
// A Volume is safe for concurrent use. Its String prints all state that a caller could
// see but ids and times, so that tests compare volumes as text.
package ntfake
