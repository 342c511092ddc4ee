// A socket that the Envoys of one or more gateways open. L4 or L7 is decided here, by `protocol`. Pure.

interface ListenerBase {
  readonly name: string;
  /** IPv4 or IPv6 to bind, e.g. 0.0.0.0. */
  readonly address: string;
  readonly port: number;
  /** Gateways whose nodes open it; sorted, at least one. */
  readonly gateways: readonly string[];
}

/** HTTP/1.1 and HTTP/2 (cleartext, by preface); its routes match requests. */
export interface HttpListener extends ListenerBase {
  readonly protocol: "http";
  /** A connection without a request for this long is closed. 0: never. */
  readonly idleTimeoutMs: number;
  /** Trust X-Forwarded-For from this many proxies in front. */
  readonly trustedHops: number;
  /** Envoy answers this path itself, on every host: 200, and 503 while it is drained. Left out: no path. */
  readonly healthPath?: string;
}

/** Raw TCP: one route, or none. */
export interface TcpListener extends ListenerBase {
  readonly protocol: "tcp";
}

/** TLS passed through by SNI: several routes on one port, nothing is decrypted. */
export interface TlsListener extends ListenerBase {
  readonly protocol: "tls";
}

export interface UdpListener extends ListenerBase {
  readonly protocol: "udp";
}

export type Listener = HttpListener | TcpListener | TlsListener | UdpListener;
export type ListenerProtocol = Listener["protocol"];
