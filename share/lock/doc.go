// Package lock is a table of advisory locks for the guests of many sessions. It keeps
// fcntl(2)'s locks (POSIX and open file description ones, by byte ranges) and flock(2)'s
// (whole files) as Linux does, in spaces that do not see each other, and a third kind that
// sessions have among themselves (share.LockMapping). It takes no lock of
// the host: a guest could stop programs of the host with one.
//
// An owner is a number that is unique in its session. A lock that waits is stopped by
// locks that are held, not by other waits: whoever asks for what is free gets it, and
// of those that wait for the same the one that asked first. So a stream of readers can
// starve a writer, as on Linux.
//
// EDEADLK is given to a POSIX wait whose owner would wait for itself through any number
// of files and sessions. As on Linux an owner stands for one thread: the threads of one
// process that wait for different locks can get an EDEADLK though another thread would
// have gone on. FUSE does not tell an open file description's locks from a process's, so
// that they are looked at alike, which Linux does not do. flock's waits are not looked
// at; nor does a search go past a bound, past which there is no EDEADLK.
//
// A Table and its Sessions are safe for concurrent use. The package starts no goroutine.
package lock
