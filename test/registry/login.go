package registry

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// login is what the registry asks for before it answers.
type login struct {
	user, password string
	identity       string // identity token, taken in place of the two
	token          bool   // by a token from /token rather than basic auth
}

// RequireBasic makes the registry ask for user and password.
func (r *Registry) RequireBasic(user, password string) {
	r.require(&login{user: user, password: password})
}

// RequireToken makes the registry ask for a bearer token, which its /token gives for
// user and password, or for an identity token.
func (r *Registry) RequireToken(user, password, identity string) {
	r.require(&login{user: user, password: password, identity: identity, token: true})
}

// AllowToken makes the registry take a bearer token that it did not give.
func (r *Registry) AllowToken(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[token] = true
}

func (r *Registry) require(l *login) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = l
}

// admit answers for requests that are not allowed through.
func (r *Registry) admit(w http.ResponseWriter, req *http.Request, l *login) bool {
	if l.token && req.URL.Path == "/token" {
		r.giveToken(w, req, l)
		return false
	}
	user, password, basic := req.BasicAuth()
	bearer, isBearer := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	r.mu.Lock()
	ok := isBearer && r.tokens[bearer] || !l.token && basic && user == l.user && password == l.password
	r.mu.Unlock()
	if ok {
		return true
	}
	challenge := `Basic realm="registry"`
	if l.token {
		challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="registry"`, req.Host)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"log in first"}]}`)
	return false
}

func (r *Registry) giveToken(w http.ResponseWriter, req *http.Request, l *login) {
	user, password, basic := req.BasicAuth()
	identity := ""
	if req.Method == http.MethodPost {
		identity = req.PostFormValue("refresh_token")
		if req.PostFormValue("grant_type") == "password" {
			user, password, basic = req.PostFormValue("username"), req.PostFormValue("password"), true
		}
	}
	if !(basic && user == l.user && password == l.password) && (identity == "" || identity != l.identity) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := rand.Text()
	r.AllowToken(token)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token, "access_token": token})
}
