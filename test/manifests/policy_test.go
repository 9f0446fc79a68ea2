package manifests

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// validator compiles a policy with the API server's own compiler.
func validator(t *testing.T, p *admissionv1.ValidatingAdmissionPolicy) validating.Validator {
	t.Helper()
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	var variables cel.OptionalVariableDeclarations
	for _, v := range p.Spec.Variables {
		compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, variables, environment.StoredExpressions)
	}
	var conditions, checks []cel.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	for _, v := range p.Spec.Validations {
		checks = append(checks, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
	}
	matcher := matchconditions.NewMatcher(compiler.CompileCondition(conditions, variables, environment.StoredExpressions),
		p.Spec.FailurePolicy, "policy", "validate", p.Name)
	none := compiler.CompileCondition(nil, variables, environment.StoredExpressions)
	messages := compiler.CompileCondition(make([]cel.ExpressionAccessor, len(checks)), variables, environment.StoredExpressions)
	return validating.NewValidator(compiler.CompileCondition(checks, variables, environment.StoredExpressions), matcher, none, messages, p.Spec.FailurePolicy, nil)
}

// refused is why a pod is refused; empty: it is not.
func refused(t *testing.T, v validating.Validator, pod *corev1.Pod) string {
	t.Helper()
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	attributes := admission.NewAttributesRecord(pod, nil, kind, "default", pod.Name, pods, "", admission.Create, &metav1.CreateOptions{}, false, nil)
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: kind}
	versioned.UpdateObject(pod)
	result := v.Validate(t.Context(), pods, versioned, nil, nil, celconfig.RuntimeCELCostBudget, nil)
	var why []string
	for _, d := range result.Decisions {
		if d.Evaluation == validating.EvalError {
			t.Errorf("the policy cannot be evaluated: %s", d.Message)
		}
		if d.Action != validating.ActionAdmit {
			why = append(why, d.Message)
		}
	}
	return strings.Join(why, "; ")
}

func TestPolicy(t *testing.T) {
	all := objects(t)
	v := validator(t, one[*admissionv1.ValidatingAdmissionPolicy](t, all))
	for name, spec := range podSpecs(all) {
		if why := refused(t, v, &corev1.Pod{Spec: *spec}); why != "" {
			t.Errorf("%s is refused: %s", name, why)
		}
	}
	for _, tc := range []struct{ name, pod, want string }{
		{"plain", "spec: {runtimeClassName: linux, containers: [{name: a}]}", ""},
		{"all_that_it_may", `
metadata: {labels: {kubernetes.io/os: windows, app: x}}
spec:
  runtimeClassName: linux
  nodeSelector: {kubernetes.io/os: windows, disk: ssd}
  securityContext: {runAsUser: 1, fsGroup: 2}
  initContainers: [{name: i, securityContext: {privileged: true}}]
  containers: [{name: a, securityContext: {runAsUser: 3}}, {name: b}]`, ""},
		{"os_linux", "spec: {runtimeClassName: linux, os: {name: linux}, containers: [{name: a}]}", "spec.os must not be set"},
		{"os_windows", "spec: {runtimeClassName: linux, os: {name: windows}, containers: [{name: a}]}", "spec.os must not be set"},
		{"shared", "spec: {runtimeClassName: linux-shared, os: {name: linux}, containers: [{name: a}]}", "spec.os must not be set"},
		{"selector", "spec: {runtimeClassName: linux, nodeSelector: {kubernetes.io/os: linux}, containers: [{name: a}]}", "nodeSelector kubernetes.io/os must be windows"},
		{"label", "metadata: {labels: {kubernetes.io/os: linux}}\nspec: {runtimeClassName: linux, containers: [{name: a}]}", "the label kubernetes.io/os"},
		{"windows_options", "spec: {runtimeClassName: linux, securityContext: {windowsOptions: {hostProcess: true}}, containers: [{name: a}]}", "windowsOptions"},
		{"windows_options_of_a_container", "spec: {runtimeClassName: linux, containers: [{name: a}, {name: b, securityContext: {windowsOptions: {runAsUserName: x}}}]}", "windowsOptions"},
		{"windows_options_of_an_init_container", "spec: {runtimeClassName: linux, initContainers: [{name: i, securityContext: {windowsOptions: {}}}], containers: [{name: a}]}", "windowsOptions"},
		{"pod_resources", "spec: {runtimeClassName: linux, resources: {limits: {cpu: 1}}, containers: [{name: a}]}", "spec.resources"},
		{"another_class", "spec: {runtimeClassName: gvisor, os: {name: linux}, containers: [{name: a}]}", ""},
		{"no_class", "spec: {os: {name: windows}, nodeSelector: {kubernetes.io/os: linux}, containers: [{name: a, securityContext: {windowsOptions: {}}}]}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var pod corev1.Pod
			if err := yaml.UnmarshalStrict([]byte(tc.pod), &pod); err != nil {
				t.Fatal(err)
			}
			got := refused(t, v, &pod)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) || strings.Contains(got, ";") {
				t.Errorf("refused %q, want %q", got, tc.want)
			}
		})
	}
}
