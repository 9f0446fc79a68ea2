//go:build !linux

package main

func setUmask(mask int) (old int) { return mask }
