package sandbox

import (
	"slices"
	"testing"
)

func TestSharing_Key(t *testing.T) {
	with := func(namespace, value string) PodConfig {
		return PodConfig{Namespace: namespace, Annotations: map[string]string{"vm": value}}
	}
	byNamespace, byAnnotation := &Sharing{}, &Sharing{Annotation: "vm"}
	for _, tt := range []struct {
		name string
		s    *Sharing
		a, b PodConfig
		same bool
	}{
		{"namespace", byNamespace, with("x", "1"), with("x", "2"), true},
		{"two_namespaces", byNamespace, with("x", "1"), with("y", "1"), false},
		{"annotation", byAnnotation, with("x", "1"), with("y", "1"), true},
		{"two_values", byAnnotation, with("x", "1"), with("x", "2"), false},
		{"without", byAnnotation, with("x", ""), with("x", ""), true},
		{"without_in_two_namespaces", byAnnotation, with("x", ""), with("y", ""), false},
		// Nobody gets into a namespace's VM by an annotation.
		{"forged", byAnnotation, with("x", ""), with("y", "x"), false},
		{"forged_key", byAnnotation, with("vm=x", ""), with("y", "x"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.s.key(tt.a) == tt.s.key(tt.b); got != tt.same {
				t.Errorf("keys %q and %q", tt.s.key(tt.a), tt.s.key(tt.b))
			}
		})
	}
}

func TestSharing_Confine(t *testing.T) {
	own := []string{"/proc/kcore", "/own"}
	c := ContainerConfig{Security: Security{MaskedPaths: own}}
	got := (&Sharing{}).confine(c).Security
	for _, p := range append(own, hiddenPaths...) {
		if !slices.Contains(got.MaskedPaths, p) {
			t.Errorf("%s is not masked", p)
		}
	}
	if !slices.Contains(got.ReadonlyPaths, "/proc/sys") || len(got.MaskedPaths) != len(hiddenPaths)+1 {
		t.Errorf("confined to %+v", got)
	}
	if !slices.Equal(c.Security.MaskedPaths, own) || c.Security.ReadonlyPaths != nil {
		t.Errorf("what the caller asked for was changed: %+v", c.Security)
	}
	if got := (&Sharing{Privileged: true}).confine(c).Security; len(got.MaskedPaths) != 2 {
		t.Errorf("a handler that lets privileged pods in masks %q", got.MaskedPaths)
	}
}

func TestDecodePodRecord_VM(t *testing.T) {
	const id, other = "0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"
	for vm, ok := range map[string]bool{other: true, "": false, "../x": false, id: false} {
		r, err := decodePodRecord([]byte(`{"version":1,"id":"` + id + `","state":"ready","vm":{"id":"` + vm + `","spec":{"pods":4}}}`))
		if (err == nil) != ok || ok && (r.VM.ID != other || r.VM.Spec.Pods != 4) {
			t.Errorf("record of a pod in VM %q = %+v, %v", vm, r.VM, err)
		}
	}
}
