package ntapi

import (
	"unicode/utf16"
	"unicode/utf8"
)

const (
	surrogate1 = 0xD800
	surrogate2 = 0xDC00
	surrogate3 = 0xE000
)

// DecodeName returns UTF-16 as WTF-8: UTF-8 in which a surrogate without its partner is
// encoded in three bytes as any other unit.
func DecodeName(u []uint16) string {
	b := make([]byte, 0, len(u)+len(u)/2)
	for i := 0; i < len(u); i++ {
		c := rune(u[i])
		switch {
		case c < surrogate1 || c >= surrogate3:
			b = utf8.AppendRune(b, c)
		case c < surrogate2 && i+1 < len(u) && u[i+1] >= surrogate2 && u[i+1] < surrogate3:
			b = utf8.AppendRune(b, utf16.DecodeRune(c, rune(u[i+1])))
			i++
		default:
			b = append(b, 0xE0|byte(c>>12), 0x80|byte(c>>6)&0x3F, 0x80|byte(c)&0x3F)
		}
	}
	return string(b)
}

// EncodeName returns WTF-8 as UTF-16. A byte that belongs to no character becomes
// U+FFFD, which no name that the caller mapped has.
func EncodeName(s string) []uint16 {
	u := make([]uint16, 0, len(s))
	for len(s) > 0 {
		r, n := DecodeRune(s)
		s = s[n:]
		if r >= surrogate1 && r < surrogate3 {
			u = append(u, uint16(r))
			continue
		}
		u = utf16.AppendRune(u, r)
	}
	return u
}

// DecodeRune is utf8.DecodeRuneInString for WTF-8: an encoded surrogate is returned as
// such, with its 3 bytes.
func DecodeRune(s string) (rune, int) {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 && len(s) >= 3 && s[0] == 0xED && s[1]&0xE0 == 0xA0 && s[2]&0xC0 == 0x80 {
		return surrogate1 | rune(s[1]&0x1F)<<6 | rune(s[2]&0x3F), 3
	}
	return r, n
}

// decodeUTF16 returns UTF-16LE bytes as a name.
func decodeUTF16(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return DecodeName(u)
}

// appendUTF16 appends a name as UTF-16LE.
func appendUTF16(b []byte, s string) []byte {
	for _, c := range EncodeName(s) {
		b = append(b, byte(c), byte(c>>8))
	}
	return b
}
