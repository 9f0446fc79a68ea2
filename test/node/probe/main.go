// Command probe is what the pods of test/node run: a server that is asked by probes and
// tests, and small programs that do what a shell cannot.
//
//	probe serve [-ready-after D]   HTTP on 8080, gRPC's health service on 9090
//	probe get [-ca FILE] [-token FILE] URL
//	probe hog MIB                  takes and holds memory
//
// The server answers /healthz while there is no file /tmp/sick, as does the health service;
// /env/NAME with a variable of its environment, /file/PATH with a file, and / with its host
// name. When it is told to end it says so and ends.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("name what to do: serve, get or hog")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	after := f.Duration("ready-after", 0, "how long the server is sick at first")
	ca := f.String("ca", "", "file with the authority of the server's certificate")
	token := f.String("token", "", "file with a bearer token")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "serve":
		return serve(ctx, *after)
	case args[0] == "get" && f.NArg() == 1:
		return get(ctx, f.Arg(0), *ca, *token)
	case args[0] == "hog" && f.NArg() == 1:
		return hog(ctx, f.Arg(0))
	}
	return fmt.Errorf("cannot do %q", args)
}

// sick is the file whose presence makes the server say that it is not well.
const sick = "/tmp/sick"

// health answers gRPC's health service.
type health struct {
	healthpb.UnimplementedHealthServer
	well func() bool
}

func (h health) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s := healthpb.HealthCheckResponse_SERVING
	if !h.well() {
		s = healthpb.HealthCheckResponse_NOT_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

func serve(ctx context.Context, after time.Duration) error {
	start := time.Now()
	well := func() bool {
		_, err := os.Stat(sick)
		return err != nil && time.Since(start) >= after
	}
	l, err := net.Listen("tcp", ":9090")
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, health{well: well})
	h := &http.Server{Addr: ":8080", Handler: pages(well), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 2)
	go func() { ended <- g.Serve(l) }()
	go func() { ended <- h.ListenAndServe() }()
	fmt.Println("serving, version", os.Getenv("VERSION"))
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		fmt.Println("told to end")
		h.Close()
		g.Stop()
		return nil
	}
}

func pages(well func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !well() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/env/{name}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, os.Getenv(r.PathValue("name"))) })
	mux.HandleFunc("/file/", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, strings.TrimPrefix(r.URL.Path, "/file"))
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprintln(w, name)
	})
	return mux
}

// get prints what a server answers, and fails unless it answers 200.
func get(ctx context.Context, url, ca, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 20 * time.Second}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s has no certificate", ca)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	if token != "" {
		text, err := os.ReadFile(token)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(text)))
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// hog takes memory, MiB by MiB, and holds it until it is told to end.
func hog(ctx context.Context, mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	var held [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	fmt.Println("holding", len(held), "MiB")
	<-ctx.Done()
	return nil
}
