package main

import "slices"

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

	forwardHost = "[k8s.io] Streaming runtime should support streaming interfaces runtime should support portforward in host network"

	ofHost     = "a pod's namespaces are those of its VM, and the host's are not in it"
	noAppArmor = "there is no AppArmor in the guest; the suite asks the host whether there is"
)

// ofVM are specs that pass when pods get the VM's namespaces for the host's.
var ofVM = []string{namespaces + "HostPID", forwardHost}

// expectedOf is what is expected of a run.
func expectedOf(o options) []expectation {
	if !o.vmNamespaces {
		return expected
	}
	return slices.DeleteFunc(slices.Clone(expected), func(e expectation) bool { return slices.Contains(ofVM, e.spec) })
}

// expected are the specs that do not pass as long as their reason holds. It has the same
// rows as docs/conformance.md.
var expected = []expectation{
	{namespaces + "HostPID", fails, ofHost},
	{namespaces + "HostIpc is true", fails, ofHost},
	{namespaces + "HostNetwork is true", fails, ofHost},
	{forwardHost, fails, ofHost},
	{"[k8s.io] Container Mount Propagation runtime should support mount propagation mount with 'rshared' should support propagation from host to container and vice versa", fails,
		"what is mounted in a VM cannot appear on its host"},
	{"[k8s.io] Image Manager public image with digest should be pulled and removed [Conformance]", fails,
		"asks for an upstream image by its digest, which no stand-in can have"},
	{userns + "needed runtime should support NamespaceMode_POD", varies,
		"the suite asks the host whether its /var/lib can be mounted with mapped ids; the guest's file systems can, and the spec passes where it runs"},
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
