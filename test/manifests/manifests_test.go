package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const deploy = "../../deploy"

// kinds are what the manifests may hold.
var kinds = map[string]func() runtime.Object{
	"node.k8s.io/v1/RuntimeClass":                                      func() runtime.Object { return &nodev1.RuntimeClass{} },
	"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy":        func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
	"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	"v1/Pod":             func() runtime.Object { return &corev1.Pod{} },
	"v1/ConfigMap":       func() runtime.Object { return &corev1.ConfigMap{} },
	"v1/Service":         func() runtime.Object { return &corev1.Service{} },
	"apps/v1/Deployment": func() runtime.Object { return &appsv1.Deployment{} },
}

// objects reads the documents of all manifests, strictly.
func objects(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deploy, "kubernetes", "windows", "*.yaml"))
	others, oerr := filepath.Glob(filepath.Join(deploy, "kubernetes", "*.yaml"))
	if err = errors.Join(err, oerr); err != nil || len(files) < 4 || len(others) < 2 {
		t.Fatalf("manifests %v, %v, %v", files, others, err)
	}
	for _, path := range others { // for Linux nodes: the API takes them, no more is asked of them here
		if text, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		} else if _, err := parse(text); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	all := map[string][]runtime.Object{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n, doc := range bytes.Split(text, []byte("\n---\n")) {
			o, err := parse(doc)
			if err != nil {
				t.Fatalf("%s, document %d: %v", path, n+1, err)
			}
			all[filepath.Base(path)] = append(all[filepath.Base(path)], o)
		}
	}
	return all
}

func parse(doc []byte) (runtime.Object, error) {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	make, ok := kinds[head.APIVersion+"/"+head.Kind]
	if !ok {
		return nil, fmt.Errorf("%s %s is not a kind that is expected", head.APIVersion, head.Kind)
	}
	o := make()
	return o, yaml.UnmarshalStrict(doc, o)
}

func one[T runtime.Object](t *testing.T, all map[string][]runtime.Object) T {
	t.Helper()
	var found []T
	for _, list := range all {
		for _, o := range list {
			if x, ok := o.(T); ok {
				found = append(found, x)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T", len(found), *new(T))
	}
	return found[0]
}

// TestParse_Strict: a field that the API does not have is an error, so that the other tests mean something.
func TestParse_Strict(t *testing.T) {
	if _, err := parse([]byte("apiVersion: v1\nkind: Pod\nspec: {runtimeClass: linux}\n")); err == nil || !strings.Contains(err.Error(), "runtimeClass") {
		t.Errorf("a field that is not the API's = %v", err)
	}
}

// TestManifests: they fit each other, and the handlers that are built in.
func TestManifests(t *testing.T) {
	all := objects(t)
	defaults, err := os.ReadFile("../../cmd/porthole/config/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]bool{}
	for _, o := range all["runtimeclass.yaml"] {
		class := o.(*nodev1.RuntimeClass)
		classes[class.Name] = true
		if !strings.Contains(string(defaults), "\n[handlers."+class.Handler+"]\n") {
			t.Errorf("class %s: the default configuration has no handler %q", class.Name, class.Handler)
		}
		if os := class.Scheduling.NodeSelector["kubernetes.io/os"]; os != "windows" || len(class.Scheduling.Tolerations) != 1 || class.Overhead.PodFixed.Memory().IsZero() {
			t.Errorf("RuntimeClass %+v", class)
		}
	}
	if len(classes) != 2 {
		t.Errorf("classes %v", classes)
	}
	policy, binding := one[*admissionv1.ValidatingAdmissionPolicy](t, all), one[*admissionv1.ValidatingAdmissionPolicyBinding](t, all)
	if binding.Spec.PolicyName != policy.Name || len(binding.Spec.ValidationActions) != 1 || binding.Spec.ValidationActions[0] != admissionv1.Deny {
		t.Errorf("binding %+v of policy %s", binding.Spec, policy.Name)
	}
	samples := 0
	for name, spec := range podSpecs(all) {
		samples++
		if spec.RuntimeClassName == nil || !classes[*spec.RuntimeClassName] || spec.OS != nil {
			t.Errorf("%s: class %v, os %v", name, spec.RuntimeClassName, spec.OS)
		}
	}
	if samples < 2 {
		t.Errorf("%d samples", samples)
	}
}

// podSpecs are the pods of the samples.
func podSpecs(all map[string][]runtime.Object) map[string]*corev1.PodSpec {
	out := map[string]*corev1.PodSpec{}
	for file, list := range all {
		for _, o := range list {
			switch o := o.(type) {
			case *corev1.Pod:
				out[file] = &o.Spec
			case *appsv1.Deployment:
				out[file] = &o.Spec.Template.Spec
			}
		}
	}
	return out
}
