//go:build !windows

package hcsvm

func hostBuild() string { return "no Windows" }
