package main

import "golang.org/x/sys/unix"

func setUmask(mask int) (old int) { return unix.Umask(mask) }
