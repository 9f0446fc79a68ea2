// Package wine runs programs for Windows on Linux, with Debian's Wine, and its tests run
// porthole.exe there: `make test-wine` (docs/windows.md says what that proves, and what it
// cannot). The programs are those that are shipped; what this Wine lacks is made up for by
// a DLL of the package's own.
//
// A Prefix is made by New, a copy of one that is kept, and ends with End. It is safe for
// concurrent use.
package wine
