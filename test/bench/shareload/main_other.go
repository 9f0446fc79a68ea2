//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "shareload: a program for the inside of a Linux VM")
	os.Exit(1)
}
