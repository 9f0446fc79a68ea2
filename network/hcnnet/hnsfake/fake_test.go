package hnsfake

import (
	"errors"
	"fmt"
	"testing"

	"github.com/porthole-run/porthole/network/hcnnet"
)

const subnet = `{"Name":"n","Type":"L2Bridge","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/24","Routes":[{"NextHop":"10.0.0.1","DestinationPrefix":"0.0.0.0/0"}]}]}]}`

func code(err error) uint32 {
	var e *hcnnet.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestCreateNetwork_Refuses(t *testing.T) {
	for name, tt := range map[string]struct {
		doc  string
		code uint32
	}{
		"json":        {`{`, badJSON},
		"unknown_key": {`{"Name":"n","Type":"NAT","SchemaVersion":{"Major":2},"Subnets":[]}`, badJSON},
		"schema":      {`{"Name":"n","Type":"NAT"}`, badNetwork},
		"type":        {`{"Name":"n","Type":"Bridge","SchemaVersion":{"Major":2}}`, badNetwork},
		"name":        {`{"Type":"NAT","SchemaVersion":{"Major":2}}`, badNetwork},
		"subnet":      {`{"Name":"n","Type":"NAT","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.1/24"}]}]}`, badIP},
		"twice":       {subnet, 0x803b0010},
	} {
		t.Run(name, func(t *testing.T) {
			h := New()
			if name == "twice" {
				if _, err := h.CreateNetwork(subnet); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := h.CreateNetwork(tt.doc); code(err) != tt.code {
				t.Errorf("CreateNetwork = %v, want %#x", err, tt.code)
			}
		})
	}
}

func TestCreateEndpoint_Refuses(t *testing.T) {
	for name, tt := range map[string]struct {
		fields string
		code   uint32
	}{
		"unknown_key":    {`,"IPAddress":"10.0.0.5"`, badJSON},
		"namespace":      {`,"HostComputeNamespace":"x"`, badJSON},
		"mac":            {`,"MacAddress":"00:15:5d:00:00:01"`, badEndpoint},
		"address":        {`,"IpConfigurations":[{"IpAddress":"10.0.0"}]`, badIP},
		"gateway":        {`,"IpConfigurations":[{"IpAddress":"10.0.0.1"}]`, badAddress},
		"other_subnet":   {`,"IpConfigurations":[{"IpAddress":"10.0.1.5"}]`, badAddress},
		"taken":          {`,"IpConfigurations":[{"IpAddress":"10.0.0.9"}]`, badAddress},
		"route":          {`,"Routes":[{"DestinationPrefix":"10.0.0.1/8"}]`, badIP},
		"next_hop":       {`,"Routes":[{"DestinationPrefix":"0.0.0.0/0","NextHop":"x"}]`, badIP},
		"policy_type":    {`,"Policies":[{"Type":"Loopback"}]`, badPolicyType},
		"policy":         {`,"Policies":[{"Type":"PortMapping","Settings":{"Protocol":1,"InternalPort":80}}]`, badPolicy},
		"host_port":      {`,"Policies":[{"Type":"PortMapping","Settings":{"Protocol":6,"InternalPort":81,"ExternalPort":8080}}]`, portTaken},
		"good_host_port": {`,"Policies":[{"Type":"PortMapping","Settings":{"Protocol":17,"InternalPort":81,"ExternalPort":8080}}]`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := New()
			n, err := h.CreateNetwork(subnet)
			if err != nil {
				t.Fatal(err)
			}
			doc := func(fields string) string {
				return fmt.Sprintf(`{"Name":"e","HostComputeNetwork":%q,"SchemaVersion":{"Major":2}%s}`, n, fields)
			}
			_, err = h.CreateEndpoint(n, doc(`,"IpConfigurations":[{"IpAddress":"10.0.0.9"}],"Policies":[{"Type":"PortMapping","Settings":{"Protocol":6,"InternalPort":80,"ExternalPort":8080}}]`))
			if err != nil {
				t.Fatal(err)
			}
			before := h.String()
			if _, err := h.CreateEndpoint(n, doc(tt.fields)); code(err) != tt.code || tt.code == 0 && err != nil {
				t.Errorf("CreateEndpoint = %v, want %#x", err, tt.code)
			} else if err != nil && h.String() != before {
				t.Errorf("it holds\n%s\nafter an error, and\n%s\nbefore", h, before)
			}
		})
	}
}

func TestNamespace(t *testing.T) {
	h := New()
	n, err := h.CreateNetwork(subnet)
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.CreateEndpoint(n, fmt.Sprintf(`{"Name":"e","HostComputeNetwork":%q,"SchemaVersion":{"Major":2}}`, n))
	if err != nil {
		t.Fatal(err)
	}
	const id, other = "00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000b"
	for _, ns := range []string{id, other} {
		if _, err := h.CreateNamespace(ns); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.CreateNamespace(id); code(err) != alreadyExists {
		t.Errorf("CreateNamespace again = %v", err)
	}
	if err := h.AddEndpoint(id, e.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.AddEndpoint(other, e.ID); code(err) != alreadyAttached {
		t.Errorf("AddEndpoint to a second namespace = %v", err)
	}
	if err := h.DeleteNamespace(id); code(err) != inUse {
		t.Errorf("DeleteNamespace with an endpoint = %v", err)
	}
	if got, want := h.String(), "network n (L2Bridge)\nnamespace 00000000-0000-0000-0000-00000000000a: e\nnamespace 00000000-0000-0000-0000-00000000000b: \n"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if err := h.RemoveEndpoint(other, e.ID); code(err) != notFound {
		t.Errorf("RemoveEndpoint from the other namespace = %v", err)
	}
	h.Restart()
	if got, want := h.String(), "network n (L2Bridge)\nendpoint e in no namespace\n"; got != want {
		t.Errorf("after a restart: String = %q, want %q", got, want)
	}
}
