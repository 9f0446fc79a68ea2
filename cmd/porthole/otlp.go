package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
)

// otlpCloseTimeout bounds the sending of what is left at the end.
const otlpCloseTimeout = 3 * time.Second

// otlp sends calls as OpenTelemetry traces. A nil one sends nothing.
type otlp struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	log      *slog.Logger
}

// newOTLP makes the exporter of a configuration; nil without one. It does not connect:
// what cannot be sent is dropped, and the log tells of it.
func newOTLP(ctx context.Context, c config.Tracing, log *slog.Logger) (*otlp, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(c.Endpoint)}
	if c.CAFile != "" {
		creds, err := credentials.NewClientTLSFromFile(c.CAFile, "")
		if err != nil {
			return nil, fmt.Errorf("read tracing.ca_file: %w", err)
		}
		opts = append(opts, otlptracegrpc.WithTLSCredentials(creds))
	}
	exporter, err := otlptracegrpc.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("make exporter of traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are lost", logkey.Address, c.Endpoint, logkey.Error, err)
	}))
	return otlpTo(exporter, log), nil
}

// otlpTo sends to an exporter.
func otlpTo(exporter sdktrace.SpanExporter, log *slog.Logger) *otlp {
	b := build()
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "porthole"), attribute.String("service.version", b.Version))),
	)
	return &otlp{provider: provider, tracer: provider.Tracer("github.com/porthole-run/porthole"), log: log}
}

// send makes a trace of a call that has ended, below the caller's when that told one. It
// does not wait for the network.
func (o *otlp) send(c phase.Call) {
	if o == nil {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": c.Traceparent})
	kind := trace.WithSpanKind(trace.SpanKindServer)
	ctx, root := o.tracer.Start(ctx, c.Name, trace.WithTimestamp(c.Begun), kind, trace.WithAttributes(attributes(c)...))
	all := make([]context.Context, len(c.Spans))
	for i, s := range c.Spans {
		under := ctx
		if s.Parent != phase.Root {
			under = all[s.Parent]
		}
		begun := c.Begun.Add(s.Start)
		var span trace.Span
		all[i], span = o.tracer.Start(under, s.Name, trace.WithTimestamp(begun))
		finish(span, begun.Add(s.Took), s.Error)
	}
	finish(root, c.Begun.Add(c.Took), c.Error)
}

func finish(s trace.Span, at time.Time, err string) {
	if err != "" {
		s.SetStatus(codes.Error, err)
	}
	s.End(trace.WithTimestamp(at))
}

// attributes name what the call was for, by OpenTelemetry's names for Kubernetes.
func attributes(c phase.Call) []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, a := range []struct{ key, value string }{
		{"k8s.namespace.name", c.Pod.Namespace},
		{"k8s.pod.name", c.Pod.Name},
		{"k8s.pod.uid", c.Pod.UID},
		{"porthole.sandbox.id", c.Pod.ID},
		{"k8s.container.name", c.Container},
		{"container.image.name", c.Image},
	} {
		if a.value != "" {
			out = append(out, attribute.String(a.key, a.value))
		}
	}
	return out
}

// close sends what is left.
func (o *otlp) close(ctx context.Context) {
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), otlpCloseTimeout)
	defer cancel()
	if err := o.provider.Shutdown(ctx); err != nil {
		o.log.Warn("traces are lost", logkey.Error, err)
	}
}
