//go:build !windows

package config

var host = onUnix
