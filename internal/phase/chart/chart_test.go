package chart

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/phase"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() phase.History {
	const ms = time.Millisecond
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	pod := phase.Pod{ID: "0123456789abcdef0123", UID: "u", Namespace: "default", Name: "web"}
	return phase.History{Pod: pod, Calls: []phase.Call{
		{Name: "RunPodSandbox", Pod: pod, Begun: at, Took: 400 * ms, Spans: []phase.Span{
			{Name: "vm", Parent: phase.Root, Start: 10 * ms, Took: 200 * ms},
			{Name: "network", Parent: phase.Root, Start: 12 * ms, Took: 150 * ms},
			{Name: "set up pod", Parent: phase.Root, Start: 220 * ms, Took: 170 * ms},
			{Name: "agent answers", Parent: 0, Start: 100 * ms, Took: 100 * ms},
			{Name: "clone vm", Parent: 0, Start: 40 * ms, Took: 50 * ms},
		}},
		{Name: "CreateContainer", Pod: pod, Container: "app", Image: "busybox:1", Begun: at.Add(time.Second), Took: 100 * ms,
			Error: "layer \"<x>\" is\x1b[31m lost", Spans: []phase.Span{
				{Name: "image", Parent: phase.Root, Start: 1 * ms, Took: 90 * ms, Error: `layer "<x>" is lost`},
			}},
	}}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("an error's text moves the terminal")
	}
	golden(t, "pod.txt", b.Bytes())
}

func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "pod.html", b.Bytes())
	if strings.Contains(b.String(), "<x>") {
		t.Error("an error's text is markup")
	}
	for _, outside := range []string{"http:", "https:", "<script", "src="} {
		if strings.Contains(b.String(), outside) {
			t.Errorf("the page has %q: it is to need nothing else", outside)
		}
	}
}

func TestText_Empty(t *testing.T) {
	var b bytes.Buffer
	if err := errors.Join(Text(&b, phase.History{}), HTML(&b, phase.History{Calls: []phase.Call{{}}}),
		Text(&b, phase.History{Calls: []phase.Call{{}}})); err != nil {
		t.Fatal(err)
	}
}

func TestOwnTimes(t *testing.T) {
	const ms = time.Millisecond
	got := ownTimes(sample())
	want := []ownTime{
		{"set up pod", 170 * ms}, {"network", 150 * ms}, {"agent answers", 100 * ms}, {"image", 90 * ms},
		{"clone vm", 50 * ms}, {"vm", 50 * ms}, {"RunPodSandbox", 30 * ms}, {"CreateContainer", 10 * ms},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(ownTime{})); d != "" {
		t.Errorf("own times (-want +got):\n%s", d)
	}
}
