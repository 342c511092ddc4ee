// Many simulated Envoys in this process: delta streams that ask for all types and ack whatever comes, unless one is told to hold back.
// In: a replica, how many, which RouteConfigurations and clusters they use. Out: their streams, by node id. Called by the tests of scale.
import type { Replica } from "./replica.js";
import { openXdsConnection, openXdsStream, type XdsStream } from "./xds-client.js";

/** What a replica must be told so that so many may come at once, over few connections. */
export const crowdSettings = {
  CHANCERY_LOG_LEVEL: "warn",
  CHANCERY_XDS_MAX_STREAMS_PER_CONNECTION: "1000",
  CHANCERY_XDS_NEW_STREAM_BURST: "10000",
  CHANCERY_XDS_MAX_FIRST_PUSHES: "10000",
} as const;

const streamsPerConnection = 125;

export interface CrowdOptions {
  /** Number of the first node; ids are `<gateway>-<number>`, with four digits. */
  readonly from?: number;
  readonly gateway?: string;
  readonly clusters: readonly string[];
  readonly routes: readonly string[];
}

/** Opens them; they are in sync when a write with `wait=acked` says so. Closed when the test file ends. */
export function openCrowd(replica: Replica, count: number, options: CrowdOptions): ReadonlyMap<string, XdsStream> {
  const { from = 0, gateway = "edge", clusters, routes } = options;
  const connections = Array.from({ length: Math.ceil(count / streamsPerConnection) }, () => openXdsConnection(replica.xdsPort));
  return new Map(
    Array.from({ length: count }, (_, index) => {
      const node = `${gateway}-${String(from + index).padStart(4, "0")}`;
      const connection = connections[index % connections.length];
      const stream = openXdsStream({
        port: replica.xdsPort,
        node,
        gateway,
        protocol: "delta",
        ...(connection ? { connection } : {}),
      });
      stream.ackAll();
      stream.request("cluster");
      stream.request("endpoint", { names: clusters });
      stream.request("listener");
      stream.request("route", { names: routes });
      return [node, stream] as const;
    }),
  );
}
