package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadResults(t *testing.T) {
	dir := t.TempDir()
	if _, err := readResults(dir); err == nil {
		t.Error("no results are taken for some")
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pod_benchmark_data.json", `{"operationsNames":["Create","Stop"],"datapoints":[
		{"operationsDurationsNs":[2000000000,1500000]},{"operationsDurationsNs":[1000000000,150000]},{"operationsDurationsNs":[3000000000,25000000]}]}`)
	rows, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printResults(&out, rows)
	const want = `| operation | n | median | p95 | slowest |
|---|---|---|---|---|
| pod: Create | 3 | 2.00 s | 3.00 s | 3.00 s |
| pod: Stop | 3 | 1.5 ms | 25 ms | 25 ms |
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	write("image_benchmark_data.json", `{"operationsNames":["Pull"],"datapoints":[]}`)
	if _, err := readResults(dir); err == nil {
		t.Error("an operation that was not measured is no error")
	}
	write("image_benchmark_data.json", `{`)
	if _, err := readResults(dir); err == nil {
		t.Error("a broken file is no error")
	}
}

func TestExpectedOf(t *testing.T) {
	if got := expectedOf(options{}); len(got) != len(expected) {
		t.Errorf("%d expectations of %d", len(got), len(expected))
	}
	got := expectedOf(options{vmNamespaces: true})
	if len(got) != len(expected)-len(ofVM) {
		t.Errorf("with the VM's namespaces %d expectations, want %d fewer than %d", len(got), len(ofVM), len(expected))
	}
}
