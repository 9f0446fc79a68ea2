// Package ntfs is the share.Backend of a folder on NTFS.
package ntfs
