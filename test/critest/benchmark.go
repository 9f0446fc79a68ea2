package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// benchmarkSettings is what the suite's benchmarks do: little, as each pod is a VM.
// Everything one after the other, so that the figures are of one operation. Images are
// stand-ins, from the registry beside the server.
const benchmarkSettings = `podsNumber: 10
podsNumberParallel: 1
containersNumber: 20
containersNumberParallel: 1
imagesNumber: 10
imagesNumberParallel: 1
podBenchmarkTimeoutSeconds: 300
containerBenchmarkTimeoutSeconds: 300
imageBenchmarkTimeoutSeconds: 300
podContainerStartBenchmarkTimeoutSeconds: 300
imagePullingBenchmarkImage: registry.k8s.io/e2e-test-images/busybox:1.29-2
imageListingBenchmarkImages:
- registry.k8s.io/e2e-test-images/busybox:1.29-2
- registry.k8s.io/e2e-test-images/nginx:1.14-2
`

// benchmarkArgs are the suite's flags for benchmarks, whose results go to a folder below
// dir.
func benchmarkArgs(dir string) ([]string, error) {
	settings := filepath.Join(dir, "benchmark.yaml")
	if err := os.WriteFile(settings, []byte(benchmarkSettings), 0o644); err != nil {
		return nil, err
	}
	if err := os.Mkdir(resultsDir(dir), 0o755); err != nil {
		return nil, err
	}
	return []string{"-benchmark", "-benchmarking-params-file=" + settings, "-benchmarking-output-dir=" + resultsDir(dir)}, nil
}

func resultsDir(dir string) string { return filepath.Join(dir, "results") }

// measurement is a file of the suite's results.
type measurement struct {
	Operations []string `json:"operationsNames"`
	Points     []struct {
		Nanos []int64 `json:"operationsDurationsNs"`
	} `json:"datapoints"`
}

// figures is a row of the table.
type figures struct {
	operation            string
	n                    int
	middle, p95, slowest time.Duration
}

// readResults reads the results in dir, by file and operation.
func readResults(dir string) ([]figures, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("the suite wrote no results")
	}
	slices.Sort(files)
	var out []figures
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var m measurement
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("read results %s: %w", file, err)
		}
		kind, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), "_benchmark")
		for i, name := range m.Operations {
			var took []time.Duration
			for _, p := range m.Points {
				if i < len(p.Nanos) {
					took = append(took, time.Duration(p.Nanos[i]))
				}
			}
			if len(took) == 0 {
				return nil, fmt.Errorf("results %s: nothing was measured of %s", file, name)
			}
			slices.Sort(took)
			out = append(out, figures{kind + ": " + name, len(took), took[len(took)/2], took[(len(took)*95+99)/100-1], took[len(took)-1]})
		}
	}
	return out, nil
}

// printResults writes a table as docs/conformance.md has it.
func printResults(w io.Writer, rows []figures) {
	fmt.Fprint(w, "| operation | n | median | p95 | slowest |\n|---|---|---|---|---|\n")
	for _, f := range rows {
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s |\n", f.operation, f.n, short(f.middle), short(f.p95), short(f.slowest))
	}
}

// short is a time with three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
