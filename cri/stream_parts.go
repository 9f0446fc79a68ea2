package cri

import "google.golang.org/protobuf/proto"

// partBytes is about how much one message of a streamed list holds. Each holds one item
// at least, whatever its size.
const partBytes = 1 << 20

// inParts sends a list in parts, in order, each item once. An empty list is no part.
func inParts[T proto.Message](items []T, send func(part []T) error) error {
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) {
			if size += proto.Size(items[n]); n > 0 && size > partBytes {
				break
			}
			n++
		}
		if err := send(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}
