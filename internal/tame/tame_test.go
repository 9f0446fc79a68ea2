package tame

import (
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestLine(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain", "hello", 10, "hello"},
		{"cut", "hello", 3, "hel…"},
		{"exact", "hello", 5, "hello"},
		{"newline", "a\nb", 10, "a·b"},
		{"tab", "a\tb", 10, "a b"},
		{"escape", "\x1b[31mred", 10, "·[31mred"},
		{"invalid", "a\xffb", 10, "a·b"},
		{"bidi", "a\u202eb", 10, "a·b"},
		{"wide", "日本語", 2, "日本…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Line(tc.in, tc.max); got != tc.want {
				t.Errorf("Line(%q, %d) = %q, want %q", tc.in, tc.max, got, tc.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	in := "one\r\n\r\n\x1b[32mtwo\x1b[0m\nspin 1\rspin 2\n\x00three"
	want := []string{"two", "spin 2", "·three"}
	if diff := cmp.Diff(want, Tail([]byte(in), 3, 80)); diff != "" {
		t.Errorf("Tail differs (-want +got):\n%s", diff)
	}
	if got := Tail(nil, 3, 80); got != nil {
		t.Errorf("Tail(nil) = %q, want nothing", got)
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("a\x1b[31m\r\n\x1b["), 2)
	f.Add([]byte("\xff\xfe\u202e"), 1)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		if n < 0 || n > 100 {
			return
		}
		out := Tail(in, n, 40)
		if len(out) > n {
			t.Fatalf("%d lines, want at most %d", len(out), n)
		}
		for _, l := range out {
			if utf8.RuneCountInString(l) > 41 || !utf8.ValidString(l) {
				t.Fatalf("line %q is too long or not UTF-8", l)
			}
			for _, r := range l {
				if !unicode.IsPrint(r) {
					t.Fatalf("line %q holds %U", l, r)
				}
			}
		}
	})
}
