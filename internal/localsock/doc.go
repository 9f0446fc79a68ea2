// Package localsock connects the processes of one program on this host: through a unix
// socket that only its owner and root can connect to, on Windows through a named pipe of
// Administrators and SYSTEM. Who connects is sure that nobody else listens.
//
// A socket is named by the path of a file. On Windows there is no file: a pipe's name is
// made from the path. Sockets of the AF_UNIX family exist on Windows from 1803 on, but not
// everywhere that this is tested (docs/decisions/0017-pipes-on-windows.md).
//
// Connections can be closed for writing: they have CloseWrite. The package is not for
// endpoints that others connect to, whose names and rights are the administrator's, but
// for ListenPipe, which makes one on Windows.
//
// Listeners end with Close, and on Linux remove their files then. All may be called from
// any goroutine.
package localsock
