// Package setup installs Porthole as a service on a Windows host, upgrades it so that a version
// that does not serve gives way to the one before, and removes it without left-overs.
//
// It is not for what Windows itself must have, which package winhost looks at and deploy/windows/
// install.ps1 turns on, nor for Linux, where a package or `make install` places files. It is portable
// but for the service, which a Service stands for, and the host, which a Host does: so that every
// step has failed once in tests.
//
//	InstallDir\versions\VERSION\porthole.exe, guest\, …   what a release's folder holds; one is the service's
//	DataDir\config.toml                                   made once, then the administrator's
//	DataDir\…                                             root and state, as config.toml says
//
// No version's files are changed once they are there: shims of an earlier version run on from
// them. A Setup is used by one call at a time; two programs at work at once are kept apart by
// the lock in InstallDir.
package setup
