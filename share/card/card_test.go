package card

import (
	"strings"
	"testing"
)

func TestChecksParse(t *testing.T) {
	all := Checks()
	if len(all) < 500 {
		t.Fatalf("%d checks: some files are missing", len(all))
	}
	for _, c := range all {
		for _, text := range strings.Split(c.Script, "\n") {
			if text = strings.TrimSpace(text); text == "" || text[0] == '#' {
				continue
			}
			l, err := parseLine(text)
			if err != nil {
				t.Errorf("%s: %s: %v", c.Name, text, err)
			}
			if _, ok := commands[l.verb]; !ok && !strings.Contains("proc blocked done interrupt exit", l.verb) {
				t.Errorf("%s: %s: no verb %q", c.Name, text, l.verb)
			}
		}
	}
}
