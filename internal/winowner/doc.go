// Package winowner looks at who made something on Windows: what SYSTEM, an Administrator,
// Windows itself or this process's own user has made can be trusted not to change behind
// the program's back. Only those who may do anything anyway can make others the owners of
// what they make. It is not for who may read: that is an access list's to say.
//
// Its functions may be called from any goroutine. Elsewhere than on
// Windows it has only Trusted.
package winowner
