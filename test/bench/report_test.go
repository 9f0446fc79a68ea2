package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReportTables(t *testing.T) {
	var r report
	r.steps.add("Start", milliseconds, portholeName, 30, 10, 20)
	r.steps.addCPU("Start", milliseconds, portholeName, 0.25)
	r.steps.add("Start", milliseconds, containerdName, 40)
	r.steps.add("Pull", rate, portholeName, 100, 50)
	r.memory.add("only here", mebibytes, portholeName, 1.25, 2)
	r.notes = []string{"a note"}
	want := `|       | unit | Porthole median |  p95 | containerd + runc median | p95 | ratio | Porthole CPU s | containerd CPU s |
|-------|------|----------------:|-----:|-------------------------:|----:|------:|---------------:|-----------------:|
| Start | ms   |            20.0 | 30.0 |                     40.0 |   – |  0.50 |           0.25 |                – |
| Pull  | MB/s |              50 |   50 |                        – |   – |     – |              – |                – |

Memory (proportional set size):

|           | unit | Porthole median | p95 | containerd + runc median | p95 | ratio |
|-----------|------|----------------:|----:|-------------------------:|----:|------:|
| only here | MiB  |             1.2 | 2.0 |                        – |   – |     – |

- a note
`
	if diff := cmp.Diff(want, r.tables()); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func TestReplaceGenerated(t *testing.T) {
	doc := "head\n" + beginMarker + "\nold\n" + endMarker + "\ntail\n"
	want := "head\n" + beginMarker + "\n\nnew\n\n" + endMarker + "\ntail\n"
	got, err := replaceGenerated(doc, "new\n", beginMarker, endMarker)
	if err != nil || got != want {
		t.Errorf("replaceGenerated = %q, %v, want %q", got, err, want)
	}
	if again, err := replaceGenerated(got, "new\n", beginMarker, endMarker); err != nil || again != want {
		t.Errorf("the second time = %q, %v, want no change", again, err)
	}
	for name, doc := range map[string]string{
		"no_begin": "head\n" + endMarker,
		"no_end":   beginMarker + "\n",
		"reversed": endMarker + "\n" + beginMarker + "\n",
	} {
		if _, err := replaceGenerated(doc, "new", beginMarker, endMarker); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRewriteKeepsWhatItCannotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := rewrite(path, func(old string) (string, error) { return replaceGenerated(old, "new", beginMarker, endMarker) }, true)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("rewrite = %v, want an error that names the file", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "no markers" {
		t.Errorf("the file is %q, %v, want it unchanged", text, err)
	}
}
