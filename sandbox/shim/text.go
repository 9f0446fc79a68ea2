package shim

import (
	"fmt"
	"strings"
	"unicode"
)

const consoleTail = 4 << 10

// withConsole adds the end of a guest's console to an error.
func withConsole(err error, console []byte) error {
	if t := cleanTail(console); t != "" {
		return fmt.Errorf("%w; console ends with:\n%s", err, t)
	}
	return fmt.Errorf("%w; console is empty", err)
}

// cleanTail returns the end of a text of foreign make, fit for logs and terminals.
func cleanTail(b []byte) string {
	if len(b) > consoleTail {
		b = b[len(b)-consoleTail:]
	}
	s := strings.ToValidUTF8(string(b), "?")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	return strings.TrimSpace(s)
}

// cut bounds a text in bytes, keeping its beginning and its end.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	head, tail := s[:limit/2], s[len(s)-limit/2:]
	return strings.ToValidUTF8(head, "") + " … " + strings.ToValidUTF8(tail, "")
}
