package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/structpb"
)

// epoch is one propagation measurement; streams report into it once each.
type epoch struct {
	k     int64
	start time.Time
	lat   []time.Duration
	left  atomic.Int64
	done  chan struct{}
}

// change is one version of the watched resource, in -watch mode.
type change struct {
	first time.Time
	lat   []time.Duration
}

type fleet struct {
	delta, parallel, nodeEvery, keepHave bool

	watch     atomic.Bool
	resumeAll atomic.Bool // streams that come again ask for all at once

	types      []string
	token      string
	nackEvery  int
	expectType string
	expectName string

	streams []*stream
	conns   []*grpc.ClientConn
	nacks   atomic.Int64
	errs    atomic.Int64
	lastErr atomic.Pointer[error]

	syncLeft atomic.Int64
	syncDone chan struct{}
	onResync func(*stream) // churn

	epoch  atomic.Pointer[epoch]
	epochs int64 // so far, over all phases
	steps  int64 // changes of the steady phase
	beside []int

	mu      sync.Mutex
	changes map[uint64]*change
}

func (f *fleet) onSynced(s *stream) {
	if f.onResync != nil {
		f.onResync(s)
		return
	}
	if f.syncLeft.Add(-1) == 0 {
		close(f.syncDone)
	}
}

func (f *fleet) seen(h uint64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.changes[h]
	if c == nil {
		c = &change{first: now}
		f.changes[h] = c
	}
	c.lat = append(c.lat, max(1, now.Sub(c.first)))
}

type tlsFlags struct{ ca, cert, key, serverName string }

func (t tlsFlags) credentials() (credentials.TransportCredentials, error) {
	if t.ca == "" && t.cert == "" {
		return insecure.NewCredentials(), nil
	}
	c := &tls.Config{ServerName: t.serverName, NextProtos: []string{"h2"}}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in -tls-ca")
		}
	}
	if t.cert != "" {
		kp, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{kp}
	}
	return credentials.NewTLS(c), nil
}

// dial connects to the first address, and to the next ones when that is lost, as an Envoy with several control planes in its bootstrap does.
func dial(addrs []string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	any := manual.NewBuilderWithScheme("fleet")
	var state resolver.State
	for _, a := range addrs {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a})
	}
	any.InitialState(state)
	return grpc.NewClient("fleet:///any",
		grpc.WithResolvers(any),
		grpc.WithTransportCredentials(creds),
		grpc.WithDisableServiceConfig(),
		// Envoy's default windows for xDS are far larger than any response.
		grpc.WithInitialWindowSize(16<<20), grpc.WithInitialConnWindowSize(24<<20),
		grpc.WithReadBufferSize(16<<10), grpc.WithWriteBufferSize(8<<10), grpc.WithSharedWriteBuffer(true),
	)
}

func makeNode(prefix, cluster string, i int, meta map[string]string, extensions int) *corev3.Node {
	n := &corev3.Node{
		Id: fmt.Sprintf("%s%d", prefix, i), Cluster: cluster,
		UserAgentName:        "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1.36.0"},
	}
	if len(meta) > 0 {
		n.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for k, v := range meta {
			n.Metadata.Fields[k] = structpb.NewStringValue(v)
		}
	}
	for e := range extensions {
		n.Extensions = append(n.Extensions, &corev3.Extension{
			Name: fmt.Sprintf("envoy.filters.http.extension_%03d", e), Category: "envoy.filters.http",
			TypeUrls: []string{fmt.Sprintf("envoy.extensions.filters.http.extension_%03d.v3.Extension", e)},
		})
	}
	return n
}

// start connects every stream at once: the connect storm of a restarted server.
func (f *fleet) start(ctx context.Context) {
	f.syncDone = make(chan struct{})
	f.syncLeft.Store(int64(len(f.streams)))
	for i := range f.streams {
		go f.keepRunning(ctx, f.streams[i], f.conns[i%len(f.conns)])
	}
}

// keepRunning reconnects a stream after it ends, as Envoy does.
func (f *fleet) keepRunning(ctx context.Context, s *stream, conn *grpc.ClientConn) {
	for ctx.Err() == nil {
		var old map[string]*sub
		if f.keepHave { // a delta client tells the server what it already has
			old = s.subs
		}
		err := s.run(ctx, conn, old)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, context.Canceled) || isCanceled(err) {
			continue // churn
		}
		f.errs.Add(1)
		f.lastErr.Store(&err)
		time.Sleep(rand.N(500 * time.Millisecond))
	}
}

// measure runs one trigger and waits for every stream.
func (f *fleet) measure(k int64, trigger func(int64) error, timeout time.Duration) (*epoch, time.Duration, error) {
	f.epochs++
	e := &epoch{k: f.epochs, lat: make([]time.Duration, len(f.streams)), done: make(chan struct{})}
	e.left.Store(int64(len(f.streams)))
	e.start = time.Now()
	f.epoch.Store(e)
	if err := trigger(k); err != nil {
		return nil, 0, err
	}
	reply := time.Since(e.start)
	select {
	case <-e.done:
		return e, reply, nil
	case <-time.After(timeout):
		return e, reply, fmt.Errorf("change %d reached %d of %d streams within %v", k,
			int64(len(f.streams))-e.left.Load(), len(f.streams), timeout)
	}
}

// converged tells whether every stream holds the same expected resource.
func (f *fleet) converged() bool {
	for _, s := range f.streams {
		if s.hash.Load() != f.streams[0].hash.Load() {
			return false
		}
	}
	return true
}

// totals sums what all streams have received so far.
func (f *fleet) totals() (bytes, resources, msgs int64) {
	for _, s := range f.streams {
		bytes += s.bytes.Load()
		resources += s.resources.Load()
		msgs += s.msgs.Load()
	}
	return
}
