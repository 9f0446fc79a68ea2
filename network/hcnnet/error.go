package hcnnet

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// Error is a failure that HNS reported.
type Error struct {
	Op   string // the call, such as "DeleteEndpoint"
	ID   string // of the object; may be empty
	Code uint32 // HRESULT; those of facility Win32 without the facility, as Windows' own libraries have them
	Text string // what HNS said besides; may be empty
}

// Error says which call failed, why, and what to do where that is known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("hns " + e.Op)
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	b.WriteString(":")
	if e.Code != 0 {
		fmt.Fprintf(&b, " 0x%08x", e.Code)
	}
	c := known[e.Code]
	if c.text != "" {
		b.WriteString(" " + c.text)
	}
	if e.Text != "" {
		fmt.Fprintf(&b, " (%s)", e.Text)
	}
	if c.advice != "" {
		b.WriteString(": " + c.advice)
	}
	return b.String()
}

// Unwrap returns the kind of error.
func (e *Error) Unwrap() error {
	if c, ok := known[e.Code]; ok {
		return c.kind
	}
	return errdefs.ErrUnknown
}

// NewError makes an Error of what HNS returned: the HRESULT, and the document or message
// that came with it, whose code counts when there is no HRESULT.
func NewError(op, id string, code uint32, said string) *Error {
	e := &Error{Op: op, ID: id, Code: plain(code)}
	from := strings.IndexByte(said, '{')
	var doc struct {
		Error     string
		ErrorCode uint32
	}
	if from >= 0 && json.Unmarshal([]byte(said[from:]), &doc) == nil {
		e.Text = doc.Error
		if e.Code == 0 || e.Code == genFailure {
			e.Code = plain(doc.ErrorCode)
		}
	} else if said != "" {
		e.Text = said
	}
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	e.Text = strings.TrimSpace(strings.Map(oneLine, e.Text))
	return e
}

// maxText bounds what is kept of HNS's own words.
const maxText = 300

func oneLine(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// plain takes the facility off codes of Windows itself.
func plain(code uint32) uint32 {
	if code&0xffff0000 == 0x80070000 {
		return code & 0xffff
	}
	return code
}

// Codes of winerror.h that HNS answers with.
const (
	codeAccessDenied  = 5
	genFailure        = 31
	codeNotFound      = 0x490
	codeAlreadyExists = 0xb7
	codeNoNetwork     = 0x803b0001
	codeNoEndpoint    = 0x803b0002
	codeStopped       = 0x803b0020
)

type meaning struct {
	kind         error
	text, advice string
}

const (
	startHNS   = "start the Host Network Service (Start-Service hns), or see its events in Microsoft-Windows-Host-Network-Service/Admin"
	remake     = "the network must be made anew by what made it: restart the node's network agent (flanneld, calico-node, azure-cns …)"
	containers = "install the Containers feature (Install-WindowsFeature Containers) and restart"
)

var known = map[uint32]meaning{
	codeAccessDenied:  {errdefs.ErrPermissionDenied, "access denied", "HNS takes calls of Administrators and SYSTEM alone: run porthole as one of them"},
	8:                 {errdefs.ErrResourceExhausted, "not enough memory", ""},
	14:                {errdefs.ErrResourceExhausted, "out of memory", ""},
	genFailure:        {errdefs.ErrUnknown, "", ""},
	126:               {errdefs.ErrNotImplemented, "a library is not there", containers},
	127:               {errdefs.ErrNotImplemented, "a call is not there", containers},
	codeAlreadyExists: {errdefs.ErrAlreadyExists, "it exists", ""},
	258:               {errdefs.ErrUnavailable, "no answer in time", startHNS},
	codeNotFound:      {errdefs.ErrNotFound, "it is not there", ""},
	1062:              {errdefs.ErrUnavailable, "the service is not started", startHNS},
	1115:              {errdefs.ErrUnavailable, "the system shuts down", ""},
	1450:              {errdefs.ErrResourceExhausted, "not enough system resources", ""},
	1460:              {errdefs.ErrUnavailable, "no answer in time", startHNS},
	1722:              {errdefs.ErrUnavailable, "the service does not answer", startHNS},
	1726:              {errdefs.ErrUnavailable, "the service ended during the call", startHNS},
	1753:              {errdefs.ErrUnavailable, "the service takes no calls yet", startHNS},
	0x80004001:        {errdefs.ErrNotImplemented, "not built in this Windows", "Windows Server 2022 or later is needed"},
	codeNoNetwork:     {errdefs.ErrNotFound, "the network is not there", ""},
	codeNoEndpoint:    {errdefs.ErrNotFound, "the endpoint is not there", ""},
	0x803b0004:        {errdefs.ErrFailedPrecondition, "the network's switch is not there", remake},
	0x803b0005:        {errdefs.ErrFailedPrecondition, "the subnet is not there", remake},
	0x803b0006:        {errdefs.ErrFailedPrecondition, "the network's adapter is not there", remake},
	0x803b0007:        {errdefs.ErrFailedPrecondition, "the switch's port is not there", ""},
	0x803b000a:        {errdefs.ErrInvalidArgument, "bad network", ""},
	0x803b000c:        {errdefs.ErrInvalidArgument, "bad endpoint", ""},
	0x803b000d:        {errdefs.ErrInvalidArgument, "bad policy", "see policies in the CNI configuration"},
	0x803b000e:        {errdefs.ErrInvalidArgument, "bad type of policy", "see policies in the CNI configuration"},
	0x803b0013:        {errdefs.ErrAlreadyExists, "the port is taken", "another pod or program has the host port"},
	0x803b0014:        {errdefs.ErrFailedPrecondition, "the endpoint is attached", ""},
	0x803b001b:        {errdefs.ErrInvalidArgument, "bad document", ""},
	0x803b001e:        {errdefs.ErrInvalidArgument, "bad address", "see the addresses in the CNI configuration and the subnet of the HNS network"},
	codeStopped:       {errdefs.ErrUnavailable, "the service stops", startHNS},
	0x803b002b:        {errdefs.ErrAlreadyExists, "the endpoint is in the namespace", ""},
	0x803b002c:        {errdefs.ErrFailedPrecondition, "it is in use", ""},
	0x803b002e:        {errdefs.ErrFailedPrecondition, "the namespace does not take the endpoint", ""},
	0x803b002f:        {errdefs.ErrInvalidArgument, "the address is reserved or not of the subnet", "see the addresses in the CNI configuration and the subnet of the HNS network"},
}
