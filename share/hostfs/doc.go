// Package hostfs serves a folder, or one file, of a Linux host as a share.Backend.
//
// A node is an O_PATH descriptor; its children are opened by it and one name, never
// through a link and never out of the folder, so that whatever is moved or swapped on
// the host meanwhile, nothing outside is reached. No path is ever built. Descriptors are
// a scarce thing: those that were not used for long are closed and opened again by file
// handle (Pool), where the file system has handles and the process may use them.
//
// The root is resolved once, by Open, which follows symbolic links: it is for the
// operator's path, not the guest's. A process that may mount takes a private copy of the
// mounts below, as a recursive private bind mount would, and read-only is then the
// kernel's matter too.
//
// A process with root's rights keeps owners, modes and types as the host's own, but for
// devices: what a guest makes with mknod(2) is never a device of the host. Any other
// process keeps them in an extended attribute (Ownership). Both use the convention of
// other container tools: user.containers.override_stat.
//
// An FS lives from Open to Close. All of its methods and those of its nodes, files and
// folders are safe for concurrent use. Linux 5.12 or later is needed; renames are
// watched with their origin from 5.17 on.
package hostfs
