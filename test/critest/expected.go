package main

// outcome is what a spec does that does not pass.
type outcome string

const (
	fails  outcome = "fails"  // the server refuses what it asks for
	skips  outcome = "skips"  // it skips itself, as the server says that it has not what is tested
	varies outcome = "varies" // with the machine that the suite runs on; it is not judged
)

// expectation is a spec that does not pass.
type expectation struct {
	spec    string
	outcome outcome
	why     string
}

const (
	security   = "[k8s.io] Security Context "
	namespaces = security + "NamespaceOption runtime should support "
	userns     = security + "UserNamespaces when Host idmap mount support is "
	apparmor   = "[k8s.io] AppArmor runtime should "

	ofHost     = "a pod's namespaces are those of its VM, and the host's are not in it"
	noUserns   = "no handler has user namespaces"
	noAppArmor = "there is no AppArmor in the guest; the suite asks the host whether there is"
)

// expected are the specs that do not pass as long as their reason holds. It has the same
// rows as docs/conformance.md.
var expected = []expectation{
	{namespaces + "HostPID", fails, ofHost},
	{namespaces + "HostIpc is true", fails, ofHost},
	{namespaces + "HostNetwork is true", fails, ofHost},
	{"[k8s.io] Streaming runtime should support streaming interfaces runtime should support portforward in host network", fails, ofHost},
	{"[k8s.io] Container Mount Propagation runtime should support mount propagation mount with 'rshared' should support propagation from host to container and vice versa", fails,
		"what is mounted in a VM cannot appear on its host"},
	{"[k8s.io] Image Manager public image with digest should be pulled and removed [Conformance]", fails,
		"asks for an upstream image by its digest, which no stand-in can have"},
	{userns + "needed runtime should support NamespaceMode_POD", skips, noUserns},
	{userns + "not needed runtime should fail if container ID 0 is not mapped", skips, noUserns},
	{userns + "not needed runtime should fail if more than one mapping provided", skips, noUserns},
	{userns + "not needed runtime should fail with NamespaceMode_CONTAINER", skips, noUserns},
	{userns + "not needed runtime should fail with NamespaceMode_TARGET", skips, noUserns},
	{userns + "not needed runtime should support NamespaceMode_NODE", skips, noUserns},
	{apparmor + "prefer new apparmor field should enforce a apparmor_profile blocking writes", varies, noAppArmor},
	{apparmor + "prefer new apparmor field should fail with an unloaded apparmor_profile", varies, noAppArmor},
	{apparmor + "prefer new apparmor field should work with apparmor profile", varies, noAppArmor},
	{apparmor + "support apparmor field should enforce a apparmor_profile blocking writes", varies, noAppArmor},
	{apparmor + "support apparmor field should enforce a permissive deprecated profile", varies, noAppArmor},
	{apparmor + "support apparmor field should fail with an unloaded apparmor_profile", varies, noAppArmor},
	{apparmor + "support deprecated apparmor_profile field should enforce a apparmor_profile blocking writes", varies, noAppArmor},
	{apparmor + "support deprecated apparmor_profile field should enforce a permissive deprecated profile", varies, noAppArmor},
	{apparmor + "support deprecated apparmor_profile field should fail with an unloaded apparmor_profile", varies, noAppArmor},
}
