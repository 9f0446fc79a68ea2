package ntfs

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

const (
	escape     = 0xF000 // U+F000+c stands for what NTFS or Win32 cannot have, as in WSL
	escapeByte = 0xF080 // to U+F0FF: a byte that is no UTF-8, and escapes themselves
	escapeEnd  = 0xF100

	// hiddenPrefix begins names that the backend keeps for itself: U+F000, which no name
	// of a guest becomes.
	hiddenPrefix = "\uF000porthole-"

	aliasMark   = "#"
	aliasDigits = 16
)

// special tells the characters that NTFS keeps in no name, or Win32 in none.
func special(c byte) bool {
	return c < 0x20 && c != 0 || strings.IndexByte(`"*:<>?|\`, c) >= 0
}

// hostName returns a guest's name as NTFS keeps it. No two guest's names give the same.
func hostName(name string) (string, error) {
	if len(name) == 0 || len(name) > posix.NAME_MAX || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", posix.EINVAL
	}
	b := make([]byte, 0, len(name)+8)
	high := false // the last thing was a lone high surrogate: a low one would join it
	for i := 0; i < len(name); {
		r, n := ntapi.DecodeRune(name[i:])
		last := i+n == len(name)
		switch {
		case r == utf8.RuneError && n == 1,
			r >= escape && r < escapeEnd,
			r >= 0xDC00 && r < 0xE000 && high:
			for _, c := range []byte(name[i : i+n]) {
				b = utf8.AppendRune(b, escape+rune(c))
			}
		case n == 1 && (special(name[i]) || last && (r == '.' || r == ' ')):
			b = utf8.AppendRune(b, escape+r)
		default:
			b = append(b, name[i:i+n]...)
		}
		high = r >= 0xD800 && r < 0xDC00
		i += n
	}
	return string(b), nil
}

// guestName returns a name of NTFS as guests see it. Names that no guest's name becomes,
// made by programs of the host, have an alias that hashes them.
func guestName(host string) string {
	b := make([]byte, 0, len(host))
	for i := 0; i < len(host); {
		r, n := ntapi.DecodeRune(host[i:])
		if r > escape && r < escapeEnd && n == 3 {
			b = append(b, byte(r-escape))
		} else {
			b = append(b, host[i:i+n]...)
		}
		i += n
	}
	name := string(b)
	if back, err := hostName(name); err == nil && back == host {
		return name
	}
	return alias(host)
}

// alias makes a name for what cannot be named otherwise. It is one that a guest could
// give to a file of its own; the file that has it wins.
func alias(host string) string {
	sum := sha256.Sum256([]byte(host))
	stem := strings.Map(func(r rune) rune {
		if r < 0x20 || r == '/' || r == utf8.RuneError || r >= escape && r < escapeEnd {
			return '_'
		}
		return r
	}, host)
	const most = posix.NAME_MAX - len(aliasMark) - aliasDigits
	for len(stem) > most {
		_, n := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-n]
	}
	return stem + aliasMark + hex.EncodeToString(sum[:])[:aliasDigits]
}

// mayBeAlias tells whether a name has the form of one.
func mayBeAlias(name string) bool {
	at := strings.LastIndex(name, aliasMark)
	return at >= 0 && len(name)-at == len(aliasMark)+aliasDigits
}
