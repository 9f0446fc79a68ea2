package main

import "strings"

// stanza is one paragraph of a Debian control file: field names in lower
// case, values with their continuation lines.
type stanza map[string]string

// parseStanzas reads paragraphs as apt prints them. Lines that are neither a
// field nor a continuation are left out.
func parseStanzas(text string) []stanza {
	var all []stanza
	var cur stanza
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch key, value, isField := strings.Cut(line, ":"); {
		case strings.TrimSpace(line) == "":
			cur, last = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				cur[last] += "\n" + strings.TrimSpace(line)
			}
		case isField && key != "":
			if cur == nil {
				cur = stanza{}
				all = append(all, cur)
			}
			last = strings.ToLower(key)
			cur[last] = strings.TrimSpace(value)
		}
	}
	return all
}

// dscDigest returns the SHA-256 digest that a stanza of a source package
// states for its .dsc file, or "".
func (s stanza) dscDigest() string {
	for line := range strings.Lines(s["checksums-sha256"]) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasSuffix(f[2], ".dsc") {
			return f[0]
		}
	}
	return ""
}

// firstDepends returns the name of the first package in Depends.
func (s stanza) firstDepends() string {
	name, _, _ := strings.Cut(s["depends"], ",")
	if f := strings.Fields(name); len(f) > 0 {
		return f[0]
	}
	return ""
}
