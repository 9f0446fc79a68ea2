package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestFetch: only what the wanted parts of a run need is fetched.
func TestFetch(t *testing.T) {
	failed := errors.New("no network")
	for _, tt := range []struct{ only, fails, want string }{
		{"", "", "sample large"},
		{"pods", "", "sample"},
		{"pods,pool,layers,memory,boots", "", "sample"},
		{"pulls", "", "sample large"},
		{"pods,unpack", "", "sample large"},
		{"", "sample", "sample"},
		{"unpack", "large", "sample large"},
		{"pods", "large", "sample"},
	} {
		o, err := parse([]string{"-fetch", "-only", tt.only})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		source := func(name string) func(context.Context, options) error {
			return func(context.Context, options) error {
				got = append(got, name)
				if name == tt.fails {
					return failed
				}
				return nil
			}
		}
		err = sources{sample: source("sample"), large: source("large")}.fetch(t.Context(), o)
		if asked := strings.Join(got, " "); asked != tt.want {
			t.Errorf("-only %q fetches %q, want %q", tt.only, asked, tt.want)
		}
		if failing := tt.fails != "" && strings.HasSuffix(tt.want, tt.fails); errors.Is(err, failed) != failing {
			t.Errorf("-only %q with a failing %q = %v", tt.only, tt.fails, err)
		}
	}
}
