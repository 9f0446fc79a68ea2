// Package tame makes text that an untrusted guest or hypervisor wrote safe to put
// into errors and logs: no control bytes, valid UTF-8, bounded length.
//
// It is not for data that a program reads again: taming loses information.
package tame

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s on one line of at most maxRunes characters. What cannot be
// printed becomes '·'; a cut is marked with "…".
func Line(s string, maxRunes int) string {
	var b strings.Builder
	n := 0
	for len(s) > 0 {
		if n == maxRunes {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		if r == '\t' {
			r = ' '
		}
		// Format characters (bidirectional marks and the like) can make a
		// terminal show another text than is there.
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			r = '·'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// Tail returns the last lines of b, each tamed and cut to maxRunes, without
// terminal escape sequences and empty lines.
func Tail(b []byte, lines, maxRunes int) []string {
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		// A carriage return goes back to the line's start: the last text stays.
		l = strings.TrimRight(l, "\r")
		if i := strings.LastIndexByte(l, '\r'); i >= 0 {
			l = l[i+1:]
		}
		l = strings.TrimRight(stripEscapes(l), " \t")
		if l == "" {
			continue
		}
		out = append(out, Line(l, maxRunes))
	}
	if len(out) > lines {
		out = out[len(out)-lines:]
	}
	return out
}

// stripEscapes removes CSI sequences, which kernels and shells use for colours.
func stripEscapes(s string) string {
	if !strings.Contains(s, "\x1b[") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+2:]
		j := strings.IndexFunc(s, func(r rune) bool { return r >= '@' && r <= '~' })
		if j < 0 {
			return b.String()
		}
		s = s[j+1:]
	}
}
