package streaming

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// What clients ask for by Sec-WebSocket-Protocol, and the streaming library does not
// know. Older protocols are left to it.
const (
	// channelsV5 carries all streams of an exec or an attach as messages that begin with
	// a stream's number; 255 and a number close that stream.
	channelsV5 = "v5.channel.k8s.io"
	// channelsV4 is the same without closing.
	channelsV4 = "v4.channel.k8s.io"
	// tunnelPrefix and the name of a SPDY protocol: SPDY itself goes through messages.
	tunnelPrefix = "SPDY/3.1+"
)

// webSocketBuffer is the most of a message in one frame, and of one read. Clients exist
// that take a message in more frames for more messages.
const webSocketBuffer = 32 << 10

const (
	handshakeTimeout = 10 * time.Second
	// farewellTimeout bounds how long a client may take to receive the end.
	farewellTimeout = 10 * time.Second
)

// webSocketProtocol returns the first of those wanted that a WebSocket client offers;
// "" when there is none, or the client wants no WebSocket.
func webSocketProtocol(r *http.Request, wanted ...string) string {
	if !websocket.IsWebSocketUpgrade(r) {
		return ""
	}
	offered := websocket.Subprotocols(r)
	for _, p := range wanted {
		if slices.Contains(offered, p) {
			return p
		}
	}
	return ""
}

// openWebSocket answers a client's upgrade; it has told the client when that fails.
func openWebSocket(w http.ResponseWriter, r *http.Request, protocol string) (*websocket.Conn, error) {
	u := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   webSocketBuffer,
		WriteBufferSize:  webSocketBuffer + 64, // and the frame's header
		Subprotocols:     []string{protocol},
		// A page of any origin may have been told the URL, and none can guess it.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	return u.Upgrade(w, r, nil)
}

// tunnelled returns what SPDY protocol is left of a WebSocket protocol's name.
func tunnelled(protocol string) string { return strings.TrimPrefix(protocol, tunnelPrefix) }

// sayGoodbye tells the client that this is the end and all went well, or could not be
// told any better.
func sayGoodbye(ws *websocket.Conn) error {
	m := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return ws.WriteControl(websocket.CloseMessage, m, time.Now().Add(farewellTimeout))
}
