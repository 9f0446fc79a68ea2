package crilog

import "bytes"

// stream is the writer of one of a container's two streams.
type stream struct {
	log     *Log
	tag     string // " stdout " or " stderr "
	pending []byte // the start of a line whose end was not written yet; at most maxLine
}

const (
	tagPartial = "P "
	tagFull    = "F "
)

// Write implements io.Writer. All records of one call carry one time.
func (s *stream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, errClosed
	}
	total := len(p)
	l.stampNow()
	for len(p) > 0 {
		// More than maxLine bytes without a newline are split, so that is as far as a
		// search needs to look.
		room := l.maxLine - len(s.pending)
		window := p
		if len(window) > room+1 {
			window = window[:room+1]
		}
		switch i := bytes.IndexByte(window, '\n'); {
		case i >= 0:
			s.record(tagFull, p[:i])
			p = p[i+1:]
		case len(window) > room:
			s.record(tagPartial, p[:room])
			p = p[room:]
		default:
			s.pending = append(s.pending, p...)
			p = nil
		}
	}
	l.flush()
	return total, nil
}

// record adds one record made of pending and text. The caller holds mu.
func (s *stream) record(tag string, text []byte) {
	l := s.log
	b := append(l.buf, l.stamp...)
	b = append(b, s.tag...)
	b = append(b, tag...)
	b = append(b, s.pending...)
	b = append(b, text...)
	l.buf = append(b, '\n')
	l.ends = append(l.ends, len(l.buf))
	s.pending = s.pending[:0]
	if len(l.buf) >= flushBytes {
		l.flush()
	}
}

// finish records an unfinished line as a part. The caller holds mu.
func (s *stream) finish() {
	if len(s.pending) > 0 {
		s.record(tagPartial, nil)
	}
}
