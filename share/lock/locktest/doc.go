// Package locktest checks implementations of share.Locker: Run is one suite for all of
// them, Model says byte by byte what Linux would do.
//
// Only tests import it.
package locktest
