package apps

import "testing"

func (h *host) show(t *testing.T, folder string) string { return folder }
func hide(t *testing.T, at string)                      {}
