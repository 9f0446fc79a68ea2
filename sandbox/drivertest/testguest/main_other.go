//go:build !linux

package main

func main() { panic("testguest runs in a Linux guest only") }
