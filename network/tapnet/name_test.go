package tapnet

import "testing"

func TestName(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"", "a", "b", "3f1c0e", "3f1c0e-a-long-id-that-no-interface-name-could-hold"} {
		n := Name(id)
		if len(n) != 14 || n != Name(id) {
			t.Errorf("Name(%q) = %q", id, n)
		}
		if other, ok := seen[n]; ok {
			t.Errorf("%q and %q have the same name", id, other)
		}
		seen[n] = id
	}
}
