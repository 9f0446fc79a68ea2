// Command shareload does to a folder what the share's benchmark measures, inside a
// container, and prints the rates as one line of JSON. Before, it can mount the folder:
//
//	shareload -dir DIR                          a folder that is there
//	shareload -dir DIR -fuse HOST:PORT          a share over TCP, with the relay beside it
//	shareload -dir DIR -9p HOST:PORT -aname /x  a 9P server's folder, by the kernel's client
//
// The last two put the same stream under both protocols. It needs root, for the mounts
// and to drop the kernel's caches, and is no program for a user.
package main
