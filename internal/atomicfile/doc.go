// Package atomicfile writes small files so that a reader, or the next start after a
// crash or a power cut, sees the old content or the new one and never a part. Replace
// promises that of crashes alone.
//
// It is not for large files (the content is in memory) nor for files that several
// writers share: the last rename wins. Functions are safe for concurrent use.
package atomicfile
