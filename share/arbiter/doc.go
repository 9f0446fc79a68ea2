// Package arbiter joins the share servers of one host, which are processes of their own:
// it keeps one table of locks for all and carries changes between those whose shares
// have files in common. docs/decisions/0007 says why it is a process of its own.
//
// Main is that process. It elects itself by a file lock beside its socket, and ends when
// it has had no members for a moment. A Client is a share server's side: it starts an
// arbiter when there is none, and Join makes a Member for each share, which implements
// share.Locker and share.Peers.
//
// Death: when a Client ends its locks go and those who wait for them go on. When the
// arbiter ends the Clients start another, which first takes only claims of what was
// held, until all Clients of the one before have come or a bound (3 s) has passed.
// Waits are asked again. A Client that comes later has missed changes: its Members are
// lost if they held locks when the arbiter ended, even if they have dropped them since, else
// they are told that anything may have changed. A Member
// is also lost when a claim is refused, or when no arbiter can be reached for 15 s.
//
// What it does not see: changes through hard links or bind mounts that lead from one
// share's folder into another's that is not above or below it.
//
// An arbiter that was stopped, or is stuck, is ended by the first Client that has asked it
// something and got no word for 11 s; what was asked goes to the next. Where it cannot be
// ended the Client's Members are lost.
//
// Everything is safe for concurrent use. A member that does not confirm a change in 2 s
// lags: others do not wait for it until it has caught up.
package arbiter
