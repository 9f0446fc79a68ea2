package ocispec

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/profiles/seccomp"
)

// The embedded profile must be the module's.
func TestDefaultProfileIsCurrent(t *testing.T) {
	want, err := json.MarshalIndent(seccomp.DefaultProfile(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("seccomp_default.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(defaultProfileJSON)); diff != "" {
		t.Errorf("seccomp_default.json is not the module's, run go test -update (-want +got):\n%s", diff)
	}
}
