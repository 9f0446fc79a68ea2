package selftest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the tables of the document anew")

const (
	document   = "../../../docs/windows.md"
	beginTable = "<!-- rows of porthole selftest -->\n"
	endTable   = "<!-- end of rows -->\n"
)

// tables are the rows as the document has them.
func tables() string {
	var b strings.Builder
	var part Part
	for _, r := range Rows() {
		if r.Part != part {
			part = r.Part
			fmt.Fprintf(&b, "\n### %s\n\n| row | assumed | where it shows | if it is not so |\n|---|---|---|---|\n", part)
		}
		do := r.Do
		if do == "" {
			do = "–"
		}
		id := "`" + r.ID + "`"
		if r.Disruptive {
			id += ", with `--disruptive`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", id, r.Assumed, r.Shows, do)
	}
	return b.String() + "\n"
}

// TestDocument: docs/windows.md lists what is checked, no more and no less.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), beginTable)
	got, after, ok2 := strings.Cut(rest, endTable)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the rows", document)
	}
	if *update {
		if err := os.WriteFile(document, []byte(before+beginTable+tables()+endTable+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(tables(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
