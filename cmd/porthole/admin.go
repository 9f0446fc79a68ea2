package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/internal/phase"
)

// The daemon holds the image store alone, and what it has measured, so that commands ask it, over HTTP
// on a socket of root's in the state folder, or a pipe of Administrators'. It serves this build's commands only and
// is no API for others.

// errorTrailer carries an error that came after the first byte of an answer.
const errorTrailer = "Porthole-Error"

// adminHandler is the daemon's side.
func adminHandler(s imageStore, j *phase.Journal, top http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /top", top)
	mux.HandleFunc("GET /phases", func(w http.ResponseWriter, _ *http.Request) { answer(w, j.Pods(), nil) })
	mux.HandleFunc("GET /images", func(w http.ResponseWriter, r *http.Request) {
		all, err := s.List(r.Context(), r.FormValue("filter"))
		answer(w, all, err)
	})
	mux.HandleFunc("POST /images/import", func(w http.ResponseWriter, r *http.Request) {
		var ids []string
		var err error
		if path := r.URL.Query().Get("path"); path != "" {
			ids, err = s.ImportPath(r.Context(), path)
		} else {
			ids, err = s.Import(r.Context(), r.Body)
		}
		answer(w, ids, err)
	})
	mux.HandleFunc("GET /images/export", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", errorTrailer)
		out := &firstByte{w: w}
		err := s.Export(r.Context(), r.URL.Query()["ref"], out)
		switch {
		case err != nil && !out.written:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case err != nil:
			w.Header().Set(errorTrailer, oneLine(err.Error()))
		}
	})
	return mux
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The client sees a cut answer when this fails.
	_ = json.NewEncoder(w).Encode(v)
}

// firstByte tells whether an answer has begun.
type firstByte struct {
	w       io.Writer
	written bool
}

func (f *firstByte) Write(p []byte) (int, error) {
	f.written = true
	return f.w.Write(p)
}

// adminClient is an imageStore in another process.
type adminClient struct{ http *http.Client }

func newAdminClient(e config.Endpoint) *adminClient {
	return &adminClient{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, e) },
	}}}
}

func (a *adminClient) Import(ctx context.Context, r io.Reader) (ids []string, err error) {
	err = a.do(ctx, http.MethodPost, "/images/import", nil, r, decodeTo(&ids))
	return ids, err
}

func (a *adminClient) ImportPath(ctx context.Context, path string) (ids []string, err error) {
	err = a.do(ctx, http.MethodPost, "/images/import", url.Values{"path": {path}}, nil, decodeTo(&ids))
	return ids, err
}

func (a *adminClient) Export(ctx context.Context, refs []string, w io.Writer) error {
	return a.do(ctx, http.MethodGet, "/images/export", url.Values{"ref": refs}, nil, func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

func (a *adminClient) List(ctx context.Context, filter string) (all []image.Image, err error) {
	err = a.do(ctx, http.MethodGet, "/images", url.Values{"filter": {filter}}, nil, decodeTo(&all))
	return all, err
}

// Phases returns what the daemon knows of the pods that it made last, the newest first.
func (a *adminClient) Phases(ctx context.Context) (all []phase.History, err error) {
	err = a.do(ctx, http.MethodGet, "/phases", nil, nil, decodeTo(&all))
	return all, err
}

func decodeTo(v any) func(io.Reader) error {
	return func(r io.Reader) error { return json.NewDecoder(r).Decode(v) }
}

// maxErrorText bounds an error from the daemon.
const maxErrorText = 64 << 10

func (a *adminClient) do(ctx context.Context, method, path string, query url.Values, body io.Reader, read func(io.Reader) error) error {
	u := url.URL{Scheme: "http", Host: "daemon", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
		if err != nil {
			return fmt.Errorf("ask the daemon: %w", err)
		}
		return errors.New(oneLine(string(text)))
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if text := resp.Trailer.Get(errorTrailer); text != "" {
		return errors.New(text)
	}
	return nil
}
