// Package wire is what the driver suite and its guest say to each other: ports of the
// mux, and one JSON request and answer on each stream but Echo's.
//
// It is not the agent's protocol, which guest/api is.
package wire

// Ports of the suite's guest.
const (
	Echo  = 7 // sends back what it gets, until half-close
	Disk  = 8 // DiskRequest, DiskAnswer
	Link  = 9 // LinkRequest, LinkAnswer
	Crash = 10
	Leave = 11 // the guest closes its control port
	Count = 12 // CountRequest, CountAnswer
)

// TCPEcho is the TCP port at which a guest with an address sends back what it gets.
const TCPEcho = 7777

// HeadBytes is how much of a disk a DiskAnswer holds.
const HeadBytes = 16

// DiskRequest asks about the disk at a LUN; Write, if any, is first put at its start.
type DiskRequest struct {
	LUN   uint32 `json:"lun"`
	Gone  bool   `json:"gone"` // wait until there is no such disk instead
	Write []byte `json:"write,omitempty"`
}

// DiskAnswer is the disk as the guest sees it.
type DiskAnswer struct {
	Size     int64  `json:"size"`
	ReadOnly bool   `json:"readOnly"`
	Head     []byte `json:"head"`
	Error    string `json:"error"`
}

// LinkRequest asks for the NIC, once its link is Up or down, and gives it an address.
type LinkRequest struct {
	Up      bool   `json:"up"`
	Address string `json:"address,omitempty"` // CIDR
	MTU     int    `json:"mtu,omitempty"`
}

// LinkAnswer is the NIC as the guest sees it.
type LinkAnswer struct {
	MAC   string `json:"mac"`
	Error string `json:"error"`
}

// CountRequest asks the guest to count one more.
type CountRequest struct{}

// CountAnswer is how far the guest has counted, in its memory.
type CountAnswer struct {
	N int64 `json:"n"`
}
