//go:build !windows

package main

func main() { panic("winclient is for Windows") }
