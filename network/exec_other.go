//go:build !linux && !windows

package network

import "os/exec"

// pluginSource says where plugins come from.
const pluginSource = "see the CNI project's releases"

// runGroup runs cmd; when its context ends, the plugin alone is killed.
func runGroup(cmd *exec.Cmd) error { return cmd.Run() }
