// Package card checks that a file system behaves as POSIX and Linux say: a few hundred
// named checks, grouped by area, and a checker that runs random operations on two
// systems and compares them.
//
// Checks are scripts of system calls (checks/*.txt; the language is in script.go). They run
// over a System: real system calls below a folder (Real, Linux), or a Session of package
// share through the guest kernel in miniature of share/client. The same checks so
// prove themselves on the host's ext4, which must pass all of them, and then prove the
// backends. What a System cannot do at all (a mapping, where there is no kernel) is left
// out and reported as left out; what it does otherwise than POSIX is in the table of
// exceptions with the reason, and an exception that no longer holds is a failure too.
//
// The package is not for measuring, and not for what needs a host's change to be seen in
// the guest. A run uses its System from several goroutines; a Card is a plain value.
package card
