// Package selftest checks on a real host what Porthole's Windows side takes from documents, and
// makes a report of it that can be sent back.
//
// Rows is the list, and the source of the tables in docs/windows.md: each row is an assumption, where
// it shows, what to do if it is not so, and the check. Run makes the checks one after another in
// a Lab: the host's services on Windows, fakes of them in tests, so that every check has passed and
// failed before it meets a real host. What Porthole is tested for elsewhere is not checked again here.
//
// A Lab is used by one Run at a time. A Run leaves nothing behind but what its report says.
package selftest
