package podsapi

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	podsv1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"

	"github.com/porthole-run/porthole/cri/endpoint"
)

const (
	// maxMessage bounds an answer: far above what etcd lets a pod have.
	maxMessage = 16 << 20
	// again is how long a kubelet that cannot answer yet is left alone.
	again = 100 * time.Millisecond
)

// Config says whom to ask.
type Config struct {
	// Endpoint is unix:///path/to.sock or npipe:////./pipe/name.
	Endpoint string
	// Timeout bounds one question with all its attempts; 0: 5 s.
	Timeout time.Duration
}

// Client asks one kubelet.
type Client struct {
	conn    *grpc.ClientConn
	pods    podsv1alpha1.PodsClient
	at      string
	timeout time.Duration
}

// New returns a Client, which connects when it is first asked.
func New(c Config) (*Client, error) {
	dial, err := endpoint.Dialer(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("pods api: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	conn, err := grpc.NewClient("passthrough:///kubelet",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's rights are the protection
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: again, Multiplier: 1.5, Jitter: .2, MaxDelay: time.Second},
			MinConnectTimeout: c.Timeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("pods api: %w", err)
	}
	return &Client{conn: conn, pods: podsv1alpha1.NewPodsClient(conn), at: c.Endpoint, timeout: c.Timeout}, nil
}

// Close ends the connection; questions that wait are answered with errors.
func (c *Client) Close() error { return c.conn.Close() }

// Pod returns the pod with this uid. NotFound when the kubelet has none; Unavailable when
// it cannot be asked within the timeout or does not have this API; DataLoss when its
// answer cannot be read.
func (c *Client) Pod(ctx context.Context, uid string) (*corev1.Pod, error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.get(bounded, uid)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask the kubelet for pod %s: %w", uid, ctx.Err())
		}
		return nil, fmt.Errorf("ask the kubelet at %s for pod %s: %w", c.at, uid, c.kind(err))
	}
	pod := &corev1.Pod{}
	if len(resp.GetPod()) == 0 {
		return nil, fmt.Errorf("the kubelet at %s answered nothing for pod %s: %w", c.at, uid, errdefs.ErrDataLoss)
	}
	if err := unmarshal(pod, resp.GetPod()); err != nil {
		return nil, fmt.Errorf("read the kubelet's answer for pod %s: %w: %w", uid, err, errdefs.ErrDataLoss)
	}
	return pod, nil
}

// unmarshal guards against a decoder that panics on bytes that are no pod.
func unmarshal(pod *corev1.Pod, b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode: %v", p)
		}
	}()
	return pod.Unmarshal(b)
}

// get asks until there is an answer that lasts, or ctx ends; the error is then the last
// one that says more than that time is up.
func (c *Client) get(ctx context.Context, uid string) (*podsv1alpha1.GetPodResponse, error) {
	var last error
	for {
		resp, err := c.pods.GetPod(ctx, &podsv1alpha1.GetPodRequest{PodUID: uid}, grpc.WaitForReady(true))
		if err == nil {
			return resp, nil
		}
		switch status.Code(err) {
		case codes.FailedPrecondition, // it does not know all its pods yet
			codes.ResourceExhausted, // it limits its callers
			codes.Unavailable:       // it went away meanwhile
			last = err
		case codes.DeadlineExceeded:
			if last != nil {
				return nil, last
			}
			return nil, err
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(again):
		}
	}
}

// kind gives an answer's error the kind that callers look at.
func (c *Client) kind(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.NotFound:
		return fmt.Errorf("%s: %w", s.Message(), errdefs.ErrNotFound)
	case codes.Unimplemented:
		return fmt.Errorf("it has no Pods API v1alpha1 (kubelet 1.37 and its feature gate PodsAPI are needed): %s: %w", s.Message(), errdefs.ErrUnavailable)
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%s: %w", s.Message(), errdefs.ErrPermissionDenied)
	case codes.DeadlineExceeded:
		return fmt.Errorf("no answer in %s: %s: %w", c.timeout, s.Message(), errdefs.ErrUnavailable)
	}
	return fmt.Errorf("%s: %s: %w", s.Code(), s.Message(), errdefs.ErrUnavailable)
}
