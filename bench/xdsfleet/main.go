// xdsfleet simulates a fleet of Envoys on an xDS (ADS) server and measures how
// fast, and at what cost to the server, configuration reaches all of them.
// See README.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func isCanceled(err error) bool { return status.Code(err) == codes.Canceled }

type listFlag []string

func (l *listFlag) String() string     { return strings.Join(*l, ",") }
func (l *listFlag) Set(v string) error { *l = append(*l, v); return nil }

type storm struct {
	Streams    int     `json:"streams"`
	Connect    dist    `json:"first_response"`
	Sync       dist    `json:"sync"`
	WallMs     float64 `json:"wall_ms"`
	PerStream  float64 `json:"bytes_per_stream"`
	Resources  float64 `json:"resources_per_stream"`
	ServerCPU  float64 `json:"server_cpu_s"`
	ClientCPU  float64 `json:"client_cpu_s"`
	RSSBefore  int64   `json:"server_rss_before"`
	RSSAfter   int64   `json:"server_rss_after"`
	RSSGC      int64   `json:"server_rss_after_gc,omitempty"`
	KBPerConn  float64 `json:"server_kb_per_stream"`
	KBPerGC    float64 `json:"server_kb_per_stream_after_gc,omitempty"`
	Errors     int64   `json:"stream_errors"`
	LastErr    string  `json:"last_error,omitempty"`
	LoadBefore string  `json:"loadavg_before"`
}

type propagation struct {
	Changes         int     `json:"changes"`
	Type            string  `json:"type"`
	Name            string  `json:"name,omitempty"`
	P50             float64 `json:"p50_ms"`
	P99             float64 `json:"p99_ms"`
	Last            float64 `json:"last_ms"`
	WorstLast       float64 `json:"worst_last_ms"`
	Reply           float64 `json:"trigger_reply_ms"`
	BytesPerStream  float64 `json:"bytes_per_stream_per_change"`
	ResPerStream    float64 `json:"resources_per_stream_per_change"`
	MsgsPerStream   float64 `json:"responses_per_stream_per_change"`
	ServerCPUms     float64 `json:"server_cpu_ms_per_change"`
	ServerUsPerPush float64 `json:"server_cpu_us_per_change_and_stream"`
	BesideCPUms     float64 `json:"beside_cpu_ms_per_change"`
	ClientCPUms     float64 `json:"client_cpu_ms_per_change"`
	RSSAfter        int64   `json:"server_rss_after"`
	Converged       *bool   `json:"converged,omitempty"`
	Each            []dist  `json:"each,omitempty"`
	Nacks           int64   `json:"nacks,omitempty"`
	Err             string  `json:"error,omitempty"`
	LoadBefore      string  `json:"loadavg_before"`
}

type burst struct {
	Changes     int     `json:"changes"`
	PerSecond   float64 `json:"changes_per_s"`
	WallMs      float64 `json:"until_quiet_ms"`
	MsgsPer     float64 `json:"responses_per_stream"`
	BytesPer    float64 `json:"bytes_per_stream"`
	ServerCPUms float64 `json:"server_cpu_ms"`
	BesideCPUms float64 `json:"beside_cpu_ms"`
	RSSPeak     int64   `json:"server_rss_peak"`
	Converged   *bool   `json:"converged,omitempty"`
}

type reconnectReport struct {
	Streams   int     `json:"streams"`
	Sync      dist    `json:"sync"`
	BytesPer  float64 `json:"bytes_per_stream"`
	ServerCPU float64 `json:"server_cpu_s"`
	RSSAfter  int64   `json:"server_rss_after"`
	Err       string  `json:"error,omitempty"`
}

// lostReport is what became of the streams of a server that went away.
type lostReport struct {
	Streams int    `json:"streams"`
	Sync    dist   `json:"sync"`
	Errors  int64  `json:"stream_errors"`
	Err     string `json:"error,omitempty"`
}

// steadyReport is one change per interval for a long time: memory must stay flat.
type steadyReport struct {
	Changes int     `json:"changes"`
	Seconds float64 `json:"seconds"`
	Last    float64 `json:"median_last_ms"`
	Worst   float64 `json:"worst_last_ms"`
	RSS     []int64 `json:"server_rss_each_10_s"`
}

type churnReport struct {
	Reconnects int     `json:"reconnects"`
	Seconds    float64 `json:"seconds"`
	Sync       dist    `json:"sync"`
	BytesPer   float64 `json:"bytes_per_reconnect"`
	ServerCPU  float64 `json:"server_cpu_ms_per_reconnect"`
	RSSAfter   int64   `json:"server_rss_after"`
	Errors     int64   `json:"stream_errors"`
}

type report struct {
	Label       string           `json:"label,omitempty"`
	Addr        string           `json:"addr"`
	Mode        string           `json:"mode"`
	Conns       int              `json:"connections"`
	Storm       *storm           `json:"storm"`
	Propagation *propagation     `json:"propagation,omitempty"`
	Burst       *burst           `json:"burst,omitempty"`
	Churn       *churnReport     `json:"churn,omitempty"`
	Probed      *propagation     `json:"probed,omitempty"`
	Reconnect   *reconnectReport `json:"reconnect,omitempty"`
	Steady      *steadyReport    `json:"steady,omitempty"`
	Lost        *lostReport      `json:"lost,omitempty"`
	Idle        *idleReport      `json:"idle,omitempty"`
	Watch       []dist           `json:"watch,omitempty"`
}

type idleReport struct {
	Seconds   float64 `json:"seconds"`
	ServerCPU float64 `json:"server_cpu_s"`
	RSSAfter  int64   `json:"server_rss_after"`
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	var (
		addr       = flag.String("addr", "127.0.0.1:18000", "xDS server; a comma-separated list is used round-robin")
		n          = flag.Int("n", 100, "streams (simulated Envoys)")
		nConns     = flag.Int("conns", 0, "TCP connections (default n: one each, like real Envoys)")
		mode       = flag.String("mode", "sotw", "sotw | delta")
		types      = flag.String("types", "cds,eds,lds,rds", "resource types to subscribe to")
		parallel   = flag.Bool("parallel", false, "subscribe to LDS at once instead of after clusters are warm")
		nodePrefix = flag.String("node-prefix", "envoy-", "node id prefix")
		cluster    = flag.String("cluster", "fleet", "node cluster")
		extensions = flag.Int("node-extensions", 0, "fake extensions in the node (a real Envoy lists several hundred)")
		nodeEvery  = flag.Bool("node-every", false, "send the node in every request, not only in a stream's first")
		token      = flag.String("token", "", "bearer token for the authorization header")
		nack       = flag.Int("nack", 0, "NACK every k-th response after the initial sync")
		syncTime   = flag.Duration("sync-timeout", 3*time.Minute, "limit for the initial sync")
		timeout    = flag.Duration("timeout", 60*time.Second, "limit for one change")
		settle     = flag.Duration("settle", 300*time.Millisecond, "pause after each change, so acknowledgements count")
		trigger    = flag.String("trigger", "", "shell command that makes the change; {{k}} is its number")
		post       = flag.String("post", "", "URL to POST to make the change; {{k}} is its number")
		verb       = flag.String("method", "POST", "HTTP method of -post")
		body       = flag.String("body", "", "file with the body of -post; {{k}} is the number of the change")
		repeat     = flag.Int("repeat", 1, "how many changes")
		warmup     = flag.Int("warmup", 0, "changes before the measured ones")
		nBurst     = flag.Int("burst", 0, "then make this many changes without waiting, and measure until quiet")
		expType    = flag.String("expect-type", "", "type that carries the change: cds | eds | lds | rds or a type URL")
		expName    = flag.String("expect-name", "", "resource that must have changed (checked by content)")
		watchFor   = flag.Duration("watch", 0, "watch -expect-name for this long and report every version seen")
		churn      = flag.Float64("churn", 0, "reconnect this many random streams per second")
		churnFor   = flag.Duration("churn-for", 10*time.Second, "for how long")
		idleFor    = flag.Duration("idle", 0, "measure the server while the fleet is idle")
		pids       = flag.String("server-pid", "", "server process(es); descendants are included")
		beside     = flag.String("beside-pid", "", "processes whose CPU is reported apart: what the server stands on, like its database")
		probed     = flag.Int("probed", 0, "then so many changes while others probe the server (\"phase probed\" and \"phase end\" go to stderr)")
		reconnect  = flag.Bool("reconnect", false, "then end all streams at once, and measure until all are back")
		failover   = flag.Bool("failover", false, "connections know all of -addr, and go on to the next when one is lost")
		lose       = flag.String("lose", "", "then a shell command that takes the first of -addr away; with -failover, measure until its streams are in sync elsewhere")
		steadyFor  = flag.Duration("steady", 0, "then one change per second for this long")
		gcURL      = flag.String("gc-url", "", "URL that makes the server collect garbage, for a second RSS reading")
		each       = flag.Bool("each", false, "report every change, not only medians")
		label      = flag.String("label", "", "free text, copied to the report")
		out        = flag.String("o", "", "write the report here instead of to stdout")
		tf         tlsFlags
		meta       listFlag
		headers    listFlag
	)
	flag.Var(&meta, "metadata", "node metadata key=value (repeatable)")
	flag.Var(&headers, "header", "header of -post, 'Name: value' (repeatable)")
	flag.StringVar(&tf.ca, "tls-ca", "", "CA bundle; turns TLS on")
	flag.StringVar(&tf.cert, "tls-cert", "", "client certificate")
	flag.StringVar(&tf.key, "tls-key", "", "client key")
	flag.StringVar(&tf.serverName, "tls-server-name", "", "expected server name")
	flag.Parse()

	f := &fleet{
		delta: *mode == "delta", parallel: *parallel, nodeEvery: *nodeEvery, token: *token,
		nackEvery: *nack, expectName: *expName, keepHave: (*churn > 0 || *reconnect) && *mode == "delta", changes: map[uint64]*change{},
	}
	if *mode != "sotw" && *mode != "delta" {
		log.Fatalf("unknown -mode %q", *mode)
	}
	for _, t := range strings.Split(*types, ",") {
		u, ok := shortTypes[t]
		if !ok {
			log.Fatalf("unknown type %q", t)
		}
		f.types = append(f.types, u)
	}
	f.expectType = *expType
	if u, ok := shortTypes[*expType]; ok {
		f.expectType = u
	}
	roots := parsePids("-server-pid", *pids)
	f.beside = parsePids("-beside-pid", *beside)
	metaMap := map[string]string{}
	for _, kv := range meta {
		k, v, _ := strings.Cut(kv, "=")
		metaMap[k] = v
	}
	creds, err := tf.credentials()
	if err != nil {
		log.Fatal(err)
	}
	if *nConns == 0 || *nConns > *n {
		*nConns = *n
	}
	addrs := strings.Split(*addr, ",")
	for i := range *nConns {
		first := i % len(addrs)
		known := addrs[first : first+1]
		if *failover {
			known = slices.Concat(addrs[first:], addrs[:first])
		}
		c, err := dial(known, creds)
		if err != nil {
			log.Fatal(err)
		}
		f.conns = append(f.conns, c)
	}
	for i := range *n {
		f.streams = append(f.streams, &stream{id: i, fleet: f, node: makeNode(*nodePrefix, *cluster, i, metaMap, *extensions)})
	}
	self := []int{os.Getpid()}
	rep := &report{Label: *label, Addr: *addr, Mode: *mode, Conns: *nConns}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// Phase 1: the connect storm.
	log.Printf("connecting %d streams on %d connections (%s)", *n, *nConns, *mode)
	before, cBefore := readUse(roots), readUse(self)
	st := &storm{Streams: *n, RSSBefore: before.RSSBytes, LoadBefore: loadAvg()}
	t0 := time.Now()
	f.start(ctx)
	select {
	case <-f.syncDone:
	case <-time.After(*syncTime):
		msg := ""
		if e := f.lastErr.Load(); e != nil {
			msg = (*e).Error()
		}
		log.Fatalf("initial sync: %d of %d streams missing after %v (%d errors, last: %s)", f.syncLeft.Load(), *n, *syncTime, f.errs.Load(), msg)
	}
	st.WallMs = ms(time.Since(t0))
	time.Sleep(*settle)
	after, cAfter := readUse(roots), readUse(self)
	conn, sync0 := make([]time.Duration, *n), make([]time.Duration, *n)
	for i, s := range f.streams {
		conn[i], sync0[i] = s.connected, s.syncTime
	}
	st.Connect, st.Sync = distOf(conn), distOf(sync0)
	b0, r0, _ := f.totals()
	st.PerStream, st.Resources = float64(b0)/float64(*n), float64(r0)/float64(*n)
	st.ServerCPU, st.ClientCPU = after.CPUSec-before.CPUSec, cAfter.CPUSec-cBefore.CPUSec
	st.RSSAfter = after.RSSBytes
	st.KBPerConn = float64(after.RSSBytes-before.RSSBytes) / 1024 / float64(*n)
	st.Errors = f.errs.Load()
	if e := f.lastErr.Load(); e != nil {
		st.LastErr = (*e).Error()
	}
	if *gcURL != "" {
		get(*gcURL)
		time.Sleep(*settle)
		st.RSSGC = readUse(roots).RSSBytes
		st.KBPerGC = float64(st.RSSGC-before.RSSBytes) / 1024 / float64(*n)
	}
	rep.Storm = st
	log.Printf("synced in %.0f ms (server %.2f s CPU, %.0f KiB per stream)", st.WallMs, st.ServerCPU, st.KBPerConn)

	// Phase 2: idle.
	if *idleFor > 0 {
		a := readUse(roots)
		time.Sleep(*idleFor)
		b := readUse(roots)
		rep.Idle = &idleReport{Seconds: idleFor.Seconds(), ServerCPU: b.CPUSec - a.CPUSec, RSSAfter: b.RSSBytes}
	}

	// Phase 3: changes.
	fire := makeTrigger(*trigger, *post, *verb, *body, headers)
	if fire != nil && f.expectType != "" && *repeat > 0 {
		rep.Propagation = f.propagate(fire, *warmup, *repeat, *timeout, *settle, roots, self, *each)
		rep.Propagation.Type, rep.Propagation.Name = shortOf(f.expectType), *expName
	}
	if fire != nil && *nBurst > 0 {
		rep.Burst = f.burst(fire, *warmup+*repeat, *nBurst, roots)
	}

	made := int64(*warmup + *repeat + *nBurst)
	if fire != nil && *probed > 0 {
		log.Print("phase probed")
		rep.Probed = f.propagate(func(k int64) error { return fire(k + made) }, 0, *probed, *timeout, *settle, roots, self, false)
		log.Print("phase end")
		made += int64(*probed)
	}
	if *steadyFor > 0 && fire != nil {
		rep.Steady = f.steady(func(k int64) error { return fire(k + made) }, *steadyFor, *timeout, roots)
	}
	if *reconnect && fire != nil {
		rep.Reconnect = f.reconnectAll(fire, made+f.steps+1, roots, *timeout)
	}

	if *lose != "" {
		rep.Lost = f.loseFirst(*lose, addrs[0], *timeout)
	}

	// Phase 4: churn.
	if *churn > 0 {
		rep.Churn = f.churn(*churn, *churnFor, roots)
	}

	// Phase 5: watch.
	if *watchFor > 0 {
		f.watch.Store(true)
		time.Sleep(*watchFor)
		f.mu.Lock()
		order := make([]*change, 0, len(f.changes))
		for _, c := range f.changes {
			order = append(order, c)
		}
		slices.SortFunc(order, func(a, b *change) int { return a.first.Compare(b.first) })
		for _, c := range order {
			rep.Watch = append(rep.Watch, distOf(c.lat))
		}
		f.mu.Unlock()
	}

	js, _ := json.MarshalIndent(rep, "", "  ")
	js = append(js, '\n')
	if *out != "" {
		if err := os.WriteFile(*out, js, 0o644); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Stdout.Write(js)
}

func (f *fleet) propagate(fire func(int64) error, warmup, repeat int, timeout, settle time.Duration, roots, self []int, each bool) *propagation {
	n := float64(len(f.streams))
	p := &propagation{LoadBefore: loadAvg()}
	fail := func(err error) *propagation { p.Err = err.Error(); log.Print(err); return p }
	for k := range warmup {
		if _, _, err := f.measure(int64(k+1), fire, timeout); err != nil {
			return fail(err)
		}
		time.Sleep(settle)
	}
	b0, r0, m0 := f.totals()
	u0, c0, d0 := readUse(roots), readUse(self), readUse(f.beside)
	var p50, p99, last, reply []float64
	for k := range repeat {
		e, rt, err := f.measure(int64(warmup+k+1), fire, timeout)
		if err != nil {
			return fail(err)
		}
		d := distOf(e.lat)
		p50, p99, last, reply = append(p50, d.P50), append(p99, d.P99), append(last, d.Last), append(reply, ms(rt))
		if each {
			p.Each = append(p.Each, d)
		}
		time.Sleep(settle)
	}
	u1, c1, d1 := readUse(roots), readUse(self), readUse(f.beside)
	b1, r1, m1 := f.totals()
	k := float64(repeat)
	p.Changes = repeat
	p.P50, p.P99, p.Last, p.Reply = median(p50), median(p99), median(last), median(reply)
	p.WorstLast = slices.Max(last)
	p.BytesPerStream, p.ResPerStream, p.MsgsPerStream = float64(b1-b0)/n/k, float64(r1-r0)/n/k, float64(m1-m0)/n/k
	p.ServerCPUms = (u1.CPUSec - u0.CPUSec) * 1000 / k
	p.ServerUsPerPush = p.ServerCPUms * 1000 / n
	p.BesideCPUms = (d1.CPUSec - d0.CPUSec) * 1000 / k
	p.ClientCPUms = (c1.CPUSec - c0.CPUSec) * 1000 / k
	p.RSSAfter = u1.RSSBytes
	p.Nacks = f.nacks.Load()
	if f.expectName != "" {
		ok := f.converged()
		p.Converged = &ok
	}
	return p
}

// burst makes changes back to back and waits until no stream receives any more.
func (f *fleet) burst(fire func(int64) error, from, k int, roots []int) *burst {
	f.epoch.Store(nil)
	n := float64(len(f.streams))
	b0, _, m0 := f.totals()
	u0, d0 := readUse(roots), readUse(f.beside)
	r := &burst{Changes: k, RSSPeak: u0.RSSBytes}
	t0 := time.Now()
	for i := range k {
		if err := fire(int64(from + i + 1)); err != nil {
			log.Print(err)
		}
		r.RSSPeak = max(r.RSSPeak, readUse(roots).RSSBytes)
	}
	r.PerSecond = float64(k) / time.Since(t0).Seconds()
	quietAt, prev := time.Now(), int64(-1)
	for time.Since(quietAt) < 500*time.Millisecond {
		if _, _, m := f.totals(); m != prev {
			prev, quietAt = m, time.Now()
		}
		r.RSSPeak = max(r.RSSPeak, readUse(roots).RSSBytes)
		time.Sleep(5 * time.Millisecond)
	}
	r.WallMs = ms(quietAt.Sub(t0))
	b1, _, m1 := f.totals()
	r.MsgsPer, r.BytesPer = float64(m1-m0)/n, float64(b1-b0)/n
	r.ServerCPUms = (readUse(roots).CPUSec - u0.CPUSec) * 1000
	r.BesideCPUms = (readUse(f.beside).CPUSec - d0.CPUSec) * 1000
	if f.expectName != "" {
		ok := f.converged()
		r.Converged = &ok
	}
	return r
}

// churn ends random streams at a steady rate and times their new sync.
func (f *fleet) churn(rate float64, d time.Duration, roots []int) *churnReport {
	var mu sync.Mutex
	var lat []time.Duration
	f.onResync = func(s *stream) {
		mu.Lock()
		lat = append(lat, s.syncTime)
		mu.Unlock()
	}
	b0, _, _ := f.totals()
	u0, e0 := readUse(roots), f.errs.Load()
	start := time.Now()
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for time.Since(start) < d {
		<-tick.C
		if c := f.streams[rand.IntN(len(f.streams))].cancel.Load(); c != nil {
			(*c)()
		}
	}
	time.Sleep(time.Second)
	u1 := readUse(roots)
	b1, _, _ := f.totals()
	mu.Lock()
	defer mu.Unlock()
	r := &churnReport{Reconnects: len(lat), Seconds: d.Seconds(), Sync: distOf(lat), RSSAfter: u1.RSSBytes, Errors: f.errs.Load() - e0}
	if len(lat) > 0 {
		r.BytesPer = float64(b1-b0) / float64(len(lat))
		r.ServerCPU = (u1.CPUSec - u0.CPUSec) * 1000 / float64(len(lat))
	}
	return r
}

// makeTrigger returns the function that makes change number k.
func makeTrigger(cmd, url, verb, bodyFile string, headers []string) func(int64) error {
	fill := func(s string, k int64) string { return fillIn(s, k) }
	if cmd != "" {
		return func(k int64) error {
			c := exec.Command("sh", "-c", fill(cmd, k))
			c.Stderr = os.Stderr
			return c.Run()
		}
	}
	if url == "" {
		return nil
	}
	var body string
	if bodyFile != "" {
		b, err := os.ReadFile(bodyFile)
		if err != nil {
			log.Fatal(err)
		}
		body = string(b)
	}
	return func(k int64) error {
		req, err := http.NewRequest(verb, fill(url, k), bytes.NewReader([]byte(fill(body, k))))
		if err != nil {
			return err
		}
		for _, h := range headers {
			name, v, _ := strings.Cut(h, ":")
			req.Header.Set(name, strings.TrimSpace(v))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		if resp.StatusCode >= 300 {
			return fmt.Errorf("trigger: %s: %s", resp.Status, text)
		}
		return nil
	}
}

func get(url string) {
	resp, err := http.Get(url)
	if err != nil {
		log.Print(err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// fillIn: {{k}} is the number of the change, {{w}} a weight of 1 to 99 that differs from the one before, {{v}} is 100 - w.
func fillIn(s string, k int64) string {
	w := 1 + k%99
	return strings.NewReplacer("{{k}}", strconv.FormatInt(k, 10), "{{w}}", strconv.FormatInt(w, 10), "{{v}}", strconv.FormatInt(100-w, 10)).Replace(s)
}

func parsePids(flagName, list string) (pids []int) {
	for _, p := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		pid, err := strconv.Atoi(p)
		if err != nil {
			log.Fatalf("%s: %v", flagName, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// reconnectAll ends every stream at once, makes a change when all have asked again, and measures until every stream has it,
// from the end of the streams: a server with nothing new to say need not answer a reconnect.
func (f *fleet) reconnectAll(fire func(int64) error, k int64, roots []int, timeout time.Duration) *reconnectReport {
	var left atomic.Int64
	left.Store(int64(len(f.streams)))
	back := make(chan struct{})
	f.onResync = func(*stream) {
		if left.Add(-1) == 0 {
			close(back)
		}
	}
	f.resumeAll.Store(true)
	b0, _, _ := f.totals()
	u0 := readUse(roots)
	t0 := time.Now()
	for _, s := range f.streams {
		if c := s.cancel.Load(); c != nil {
			(*c)()
		}
	}
	r := &reconnectReport{}
	select {
	case <-back:
	case <-time.After(timeout):
		r.Err = fmt.Sprintf("%d streams were not back after %v", left.Load(), timeout)
		return r
	}
	asked := time.Since(t0)
	e, _, err := f.measure(k, fire, timeout)
	if err != nil {
		r.Err = err.Error()
		return r
	}
	time.Sleep(300 * time.Millisecond)
	u1 := readUse(roots)
	b1, _, _ := f.totals()
	lat := make([]time.Duration, len(e.lat))
	for i, l := range e.lat {
		lat[i] = asked + l
	}
	r.Streams, r.Sync, r.BytesPer = len(lat), distOf(lat), float64(b1-b0)/float64(len(f.streams))
	r.ServerCPU, r.RSSAfter = u1.CPUSec-u0.CPUSec, u1.RSSBytes
	return r
}

// loseFirst runs a command that takes the first server away, and measures until every stream it had has all its resources again.
func (f *fleet) loseFirst(command, server string, timeout time.Duration) *lostReport {
	var mu sync.Mutex
	back := map[*stream]time.Duration{}
	there := map[*stream]bool{}
	done := make(chan struct{})
	e0 := f.errs.Load()
	t0 := time.Now()
	f.onResync = func(s *stream) {
		mu.Lock()
		defer mu.Unlock()
		if _, again := back[s]; !there[s] || again {
			return
		}
		if back[s] = time.Since(t0); len(back) == len(there) {
			close(done)
		}
	}
	mu.Lock()
	for _, s := range f.streams {
		if a := s.server.Load(); a != nil && *a == server {
			there[s] = true
		}
	}
	mu.Unlock()
	log.Print("phase lost")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		return &lostReport{Err: fmt.Sprintf("%v: %s", err, out)}
	}
	lost := len(there)
	r := &lostReport{Streams: lost}
	select {
	case <-done:
	case <-time.After(timeout):
		r.Err = "not all were back in time"
	}
	mu.Lock()
	defer mu.Unlock()
	var lat []time.Duration
	for _, d := range back {
		lat = append(lat, d)
	}
	if len(lat) > 0 {
		r.Sync = distOf(lat)
	}
	if len(lat) < lost {
		r.Err = fmt.Sprintf("%d of %d streams were not back after %v", lost-len(lat), lost, timeout)
	}
	r.Errors = f.errs.Load() - e0
	return r
}

// steady makes one change per second.
func (f *fleet) steady(fire func(int64) error, d, timeout time.Duration, roots []int) *steadyReport {
	r := &steadyReport{RSS: []int64{readUse(roots).RSSBytes}}
	var last []float64
	start, noted := time.Now(), time.Now()
	for time.Since(start) < d {
		next := time.Now().Add(time.Second)
		f.steps++
		e, _, err := f.measure(f.steps, fire, timeout)
		if err != nil {
			log.Print(err)
			break
		}
		last = append(last, distOf(e.lat).Last)
		if time.Since(noted) >= 10*time.Second {
			noted = time.Now()
			r.RSS = append(r.RSS, readUse(roots).RSSBytes)
		}
		time.Sleep(time.Until(next))
	}
	r.Changes, r.Seconds = len(last), time.Since(start).Seconds()
	if len(last) > 0 {
		r.Last, r.Worst = median(last), slices.Max(last)
	}
	return r
}
