/** What a client said to Postgres since the last reset. */
export interface PostgresCounts {
  readonly statements: number;
  readonly parses: number;
  readonly roundTrips: number;
  readonly bytes: number;
  readonly texts: ReadonlyMap<string, number>;
}

export interface PostgresCounter {
  readonly port: number;
  counts(): PostgresCounts;
  reset(): void;
  close(): Promise<void>;
}

export function startPostgresCounter(target: {
  readonly host: string;
  readonly port: number;
  readonly asPooler?: boolean;
}): Promise<PostgresCounter>;
