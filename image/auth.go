package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/containerd/errdefs"
)

// Auth is what a caller gives to log in with. The zero Auth gives nothing.
type Auth struct {
	Username, Password string
	// Auth is base64 of "user:password", used when Username is empty.
	Auth string
	// ServerAddress is the host that the rest is for. Empty: the image's registry.
	ServerAddress string
	// IdentityToken is exchanged for an access token.
	IdentityToken string
	// RegistryToken is sent as it is, as a bearer token.
	RegistryToken string
}

// String hides what is in it.
func (a Auth) String() string {
	if a == (Auth{}) {
		return "none"
	}
	return "given"
}

// GoString hides what is in it.
func (a Auth) GoString() string { return a.String() }

// login returns user and secret the way containerd's authorizer takes them: a secret
// without a user is an identity token.
func (a Auth) login() (user, secret string, err error) {
	switch {
	case a.Username != "":
		return a.Username, a.Password, nil
	case a.IdentityToken != "":
		return "", a.IdentityToken, nil
	case a.Auth != "":
		raw, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			return "", "", fmt.Errorf("auth is not base64: %w", errdefs.ErrInvalidArgument)
		}
		user, secret, ok := strings.Cut(string(raw), ":")
		if !ok {
			return "", "", fmt.Errorf("auth is not base64 of user:password: %w", errdefs.ErrInvalidArgument)
		}
		return user, strings.TrimRight(secret, "\x00"), nil
	}
	return "", "", nil
}

// credentials answers for one pull. Those of the request are for the image's own
// registry or for the server they name; a mirror does not get them. The docker config
// file is asked for all hosts.
type credentials struct {
	registry   string
	auth       Auth
	dockerFile string
}

func (c credentials) get(host string) (user, secret string, err error) {
	if c.fits(host) {
		if user, secret, err = c.auth.login(); err != nil || secret != "" || user != "" {
			return user, secret, err
		}
	}
	a, err := dockerAuth(c.dockerFile, host)
	if err != nil {
		return "", "", err
	}
	return a.login()
}

// bearer is the token to send to a host as it is, if there is one.
func (c credentials) bearer(host string) string {
	if c.auth.RegistryToken != "" && c.fits(host) {
		return c.auth.RegistryToken
	}
	return ""
}

func (c credentials) fits(host string) bool {
	if c.auth.ServerAddress != "" {
		return authHost(c.auth.ServerAddress) == authHost(host)
	}
	return authHost(c.registry) == authHost(host)
}

// authHost is the name under which credentials of a registry are kept: the host, with
// Docker Hub's many names as one.
func authHost(s string) string {
	if strings.Contains(s, "://") {
		if u, err := url.Parse(s); err == nil {
			s = u.Host
		}
	}
	s, _, _ = strings.Cut(s, "/")
	switch s {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return strings.ToLower(s)
}

// dockerAuth looks a host up in a docker config file.
func dockerAuth(path, host string) (Auth, error) {
	if path == "" {
		return Auth{}, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Auth{}, nil
	}
	if err != nil {
		return Auth{}, fmt.Errorf("read docker config: %w", err)
	}
	return parseDockerConfig(raw, host)
}

func parseDockerConfig(raw []byte, host string) (Auth, error) {
	var doc struct {
		Auths map[string]struct {
			Username, Password, Auth, IdentityToken string
		} `json:"auths"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		// The decoder's words may quote what is in the file.
		return Auth{}, fmt.Errorf("docker config is not valid JSON: %w", errdefs.ErrInvalidArgument)
	}
	for server, a := range doc.Auths {
		if authHost(server) == authHost(host) {
			return Auth{Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken}, nil
		}
	}
	return Auth{}, nil
}

// bearerAuthorizer sends one token that was given from outside.
type bearerAuthorizer string

func (b bearerAuthorizer) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

func (bearerAuthorizer) AddResponses(context.Context, []*http.Response) error {
	return fmt.Errorf("registry token was refused: %w", errdefs.ErrNotImplemented)
}
