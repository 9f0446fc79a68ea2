package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// spec is one test of the suite and how it went.
type spec struct {
	name    string // all texts from the outermost, joined by spaces
	state   string // passed, skipped, or one of the ways to fail
	message string // why it failed or skipped itself
}

func (s spec) passed() bool { return s.state == "passed" }

func (s spec) skipped() bool { return s.state == "skipped" }

// readReport reads a JSON report of ginkgo. What was filtered out is not in the result:
// it has no message, as none of its code ran.
func readReport(path string) ([]spec, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(b, &suites); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	var all []spec
	for _, suite := range suites {
		for _, r := range suite.SpecReports {
			s := spec{
				name:    strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " "),
				state:   r.State,
				message: r.Failure.Message,
			}
			switch {
			case r.LeafNodeType != "It" && s.passed():
				continue // a step before or after all specs
			case r.LeafNodeType != "It":
				s.name = r.LeafNodeType
			case s.skipped() && s.message == "":
				continue
			}
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b spec) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// compare says in what a run differs from what is expected of it. Of a part of the suite
// it is not asked that all expected specs are there.
func compare(ran []spec, want []expectation, part bool) []string {
	byName := map[string]expectation{}
	for _, e := range want {
		byName[e.spec] = e
	}
	var bad []string
	passed := 0
	for _, s := range ran {
		e, listed := byName[s.name]
		delete(byName, s.name)
		switch {
		case e.outcome == varies:
		case s.passed() && listed:
			bad = append(bad, fmt.Sprintf("%s: passed, and is expected not to (%s); take it off the list", s.name, e.why))
		case s.passed():
			passed++
		case s.skipped() && e.outcome != skips:
			bad = append(bad, fmt.Sprintf("%s: skipped itself: %s", s.name, s.message))
		case !s.skipped() && e.outcome != fails:
			bad = append(bad, fmt.Sprintf("%s: %s: %s", s.name, s.state, brief(s.message)))
		}
	}
	if passed == 0 {
		bad = append(bad, "no spec passed")
	}
	if !part {
		for name := range byName {
			bad = append(bad, fmt.Sprintf("%s: is expected and is no spec of the suite", name))
		}
	}
	slices.Sort(bad)
	return bad
}

// brief is the beginning of a message. The rest is in the suite's own log.
func brief(message string) string {
	const most = 300
	if text := strings.Join(strings.Fields(message), " "); len(text) > most {
		return text[:most] + " …"
	} else {
		return text
	}
}

// summary counts the states of a run.
func summary(ran []spec) string {
	n := map[string]int{}
	for _, s := range ran {
		n[s.state]++
	}
	return fmt.Sprintf("%d specs: %d passed, %d failed, %d skipped themselves", len(ran), n["passed"], len(ran)-n["passed"]-n["skipped"], n["skipped"])
}
