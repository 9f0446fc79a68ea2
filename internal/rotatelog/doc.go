// Package rotatelog writes a log of bounded size: a file, and a number of older ones named
// path.1 (the newest), path.2 and so on.
//
// It is not for container logs, which the kubelet rotates. Files are opened so that they
// can be renamed while others read them; where a reader keeps a file from being renamed
// all the same, as programs on Windows can, the Writer goes on in the file and tries again
// later: no line is lost for the sake of a size.
//
// A Writer is made by Open and ends with Close. It is safe for concurrent use by one
// process.
package rotatelog
