package hcnnet

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestError(t *testing.T) {
	tests := []struct {
		name string
		err  *Error
		kind error
		text string
	}{
		{"access_denied", NewError("DeleteEndpoint", "e1", 0x80070005, ""), errdefs.ErrPermissionDenied,
			"hns DeleteEndpoint e1: 0x00000005 access denied: HNS takes calls of Administrators and SYSTEM alone: run porthole as one of them"},
		{"stopped", NewError("ListEndpoints", "", 0x800706ba, ""), errdefs.ErrUnavailable,
			"hns ListEndpoints: 0x000006ba the service does not answer: start the Host Network Service (Start-Service hns), or see its events in Microsoft-Windows-Host-Network-Service/Admin"},
		{"not_found_as_win32", NewError("GetNamespace", "n1", 0x490, ""), errdefs.ErrNotFound, "hns GetNamespace n1: 0x00000490 it is not there"},
		{"not_found_as_hresult", NewError("GetNamespace", "n1", 0x80070490, ""), errdefs.ErrNotFound, "hns GetNamespace n1: 0x00000490 it is not there"},
		{"code_in_document", NewError("CreateEndpoint", "", 0, `hcnCreateEndpoint failed in Win32: %!s(<nil>) (0x1f) {"Success":false,"Error":"The IP is\nreserved","ErrorCode":2151350319}`),
			errdefs.ErrInvalidArgument, "hns CreateEndpoint: 0x803b002f the address is reserved or not of the subnet (The IP is reserved): see the addresses in the CNI configuration and the subnet of the HNS network"},
		{"code_beats_document", NewError("CreateEndpoint", "", 0x803b0013, `{"Error":"taken","ErrorCode":5}`), errdefs.ErrAlreadyExists,
			"hns CreateEndpoint: 0x803b0013 the port is taken (taken): another pod or program has the host port"},
		{"unknown", NewError("GetNetwork", "n", 0x8badf00d, "what?"), errdefs.ErrUnknown, "hns GetNetwork n: 0x8badf00d (what?)"},
		{"no_code", NewError("EndpointStats", "e", 0, "hns failed with error : Element not found. "), errdefs.ErrUnknown, "hns EndpointStats e: (hns failed with error : Element not found.)"},
		{"broken_document", NewError("GetNetwork", "n", 8, "{"), errdefs.ErrResourceExhausted, "hns GetNetwork n: 0x00000008 not enough memory ({)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !errors.Is(tt.err, tt.kind) {
				t.Errorf("kind of %v is not %v", tt.err, tt.kind)
			}
			if got := tt.err.Error(); got != tt.text {
				t.Errorf("Error =\n%s\nwant\n%s", got, tt.text)
			}
		})
	}
	if long := NewError("GetNetwork", "", 8, strings.Repeat("é", 1000)).Error(); len(long) > 2*maxText {
		t.Errorf("an error of %d bytes", len(long))
	}
}
