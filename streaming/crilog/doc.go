// Package crilog writes container logs in the format of the CRI, which the kubelet
// and crictl read straight from the file:
//
//	2026-01-02T15:04:05.123456789Z stdout F a whole line
//	2026-01-02T15:04:06.5Z stderr P the first part of a long line
//
// P marks a part that is continued by the next record of the same stream, F a line's
// end. A line longer than the limit becomes several parts; a last line without a
// newline stays a part, so that joining the records gives back the bytes that were
// written. Reading logs is not for this package: clients follow the file themselves.
//
// A Log lives from Open to Close. Its two writers and all its methods are safe for
// concurrent use: records of the two streams interleave, but are never mixed.
//
// Writers never fail because of the disk. The container is at the other end, and a
// writer that stops reading would hang it: when a record cannot be written it is
// dropped and counted, the outage is logged once, and writing goes on when it can.
package crilog
