// Package sparsefile packs a file that is mostly holes into a stream of what it holds, and
// makes the file of it again. It is for disk images that are kept or moved: not for many
// small files, and it compresses nothing but zeros.
//
// A pack is the same whatever the file's holes are like on the file system that it is on:
// pieces are whole blocks that are not all zero. Functions are safe for concurrent use with
// different files.
package sparsefile
