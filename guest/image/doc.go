// Package image is the guest bundle: the folder with the kernel and the
// initrd that every utility VM boots, and the manifest that says what is in
// them.
//
// A bundle holds three files:
//
//	vmlinux        the kernel, an uncompressed ELF file with a PVH entry point
//	initrd         a cpio archive, see below
//	manifest.json  versions, sources and digests, see Manifest
//
// The package opens and checks bundles and knows the kernel command line they
// want. It does not make them: that is the program in mkguest, which runs on
// Debian. It starts no VM either. Nothing here depends on the host's system.
//
// # The initrd
//
// The initrd is the guest's whole root file system; it stays in memory. It is
// not compressed: with zstd it has 4 MB instead of 14, and unpacking that
// costs 0.1 of 1.6 CPU seconds of a boot under emulation (measured 2026-11).
//
//	/init                         porthole-agent, PID 1
//	/bin/crun                     the OCI runtime, static
//	/bin/pause                    holds a pod's namespaces, static
//	/bin/relay                    carries a share's FUSE messages, static
//	/sbin/mke2fs, /sbin/resize2fs for scratch disks, static
//	/lib/modules/RELEASE/...      kernel modules, uncompressed
//	/lib/porthole/modules         which to load, in which order: package modlist
//	/lib/porthole/module-aliases  what the kernel calls them: package modlist
//	/dev/console                  so that PID 1 has an output from the start
//	/proc /sys /dev /run /tmp /etc  empty, for the agent to fill
//
// A bundle made with mkguest -debug-shell has /bin/busybox too.
//
// A Bundle is immutable after Open; its methods may be called from any
// goroutine. Files are replaced as a whole folder, never in place, so an open
// Bundle does not see half of a newer one; Verify tells when the files on disk
// are no longer those of the manifest.
package image
