// Package ext4 writes ext4 file systems that are read only ever after, in one pass and
// with little memory: about seventy bytes and the name for each file.
//
// A Writer is told of one name after another, parents first, and of a file's content right
// after the file. Contents go out as they come, each file in one piece; what tells of them
// (folders, the table of inodes, the bitmaps, the superblock) follows when the Writer is
// closed. There is no journal and no free space, and no checksums of metadata. The result
// depends on what was told and in which order, and on nothing else.
//
// A Writer keeps no tree: that names are told once, and below folders that exist, is its
// caller's part. Names lie in a Names, which the caller uses for its own tree as well, so
// that each is in memory once.
//
// The layout and the features are those of hcsshim's tar2ext4, byte for byte, but for what
// that refuses or gets wrong: times before 1970 and from 2038 on, the padding of inode
// bitmaps, the order of more than a dozen extended attributes in a block, and folders with
// more than 64,998 folders in them.
//
// A Reader finds names, attributes, links and small files in what a Writer made, and nothing in
// other file systems.
//
// Sources: Documentation/filesystems/ext4 of the Linux kernel, and e2fsck.
// Nothing here is safe for concurrent use but a Reader.
package ext4
