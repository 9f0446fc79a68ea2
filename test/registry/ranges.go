package registry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"time"
)

// ranged answers requests for a part of a blob, with an open end too, which the
// registry below does not know and clients use to go on with a download.
func ranged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet || req.Header.Get("Range") == "" {
			next.ServeHTTP(w, req)
			return
		}
		whole := req.Clone(req.Context())
		whole.Header.Del("Range")
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, whole)
		for k, v := range rec.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		if rec.Code != http.StatusOK {
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
			return
		}
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(rec.Body.Bytes()))
	})
}
