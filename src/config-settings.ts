// The kinds of settings: how one key of the environment is read, and how its default and bound are shown.
// Called by: config.ts, whose table is made of these.

/** A value, always there so that reading can go on, and what is wrong with what was given. */
interface Reading<T> {
  readonly value: T;
  readonly problem?: string;
}

/** One key of the environment: how it is read, and how it is told. */
export interface Setting<out T> {
  readonly key: string;
  /** "ms", "bytes", …; "" where the value has none. */
  readonly unit: string;
  /** The default as a person would write it; "" for none. */
  readonly shown: string;
  /** What values are taken, for people. */
  readonly bound: string;
  readonly about: string;
  read(given: string | undefined): Reading<T>;
}

/** A variable that is set but empty counts as not set: compose files write `KEY=${KEY:-}`. */
function isUnset(given: string | undefined): given is undefined | "" {
  return given === undefined || given === "";
}

/** 1048576 → "1,048,576". */
export function withCommas(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A whole number between two bounds, with its unit. */
export function integer(
  key: string,
  options: { unit: string; default: number; min: number; max: number; about: string },
): Setting<number> {
  const bound = `${withCommas(options.min)}–${withCommas(options.max)}`;
  return {
    key,
    unit: options.unit,
    shown: withCommas(options.default),
    bound,
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: options.default };
      const value = /^\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
      if (value >= options.min && value <= options.max) return { value };
      return {
        value: options.default,
        problem: `must be a whole number of ${options.unit}, ${bound}; it is ${JSON.stringify(given)}`,
      };
    },
  };
}

/** on or off. */
export function toggle(key: string, options: { default: boolean; about: string }): Setting<boolean> {
  return {
    key,
    unit: "",
    shown: options.default ? "on" : "off",
    bound: "on, off",
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: options.default };
      if (given === "on" || given === "off") return { value: given === "on" };
      return { value: options.default, problem: `must be on or off; it is ${JSON.stringify(given)}` };
    },
  };
}

/** One of a few words. */
export function choice<const T extends string>(
  key: string,
  choices: readonly T[],
  options: { default: NoInfer<T>; about: string },
): Setting<T> {
  return {
    key,
    unit: "",
    shown: options.default,
    bound: choices.join(", "),
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: options.default };
      const value = choices.find((one) => one === given);
      return value === undefined
        ? { value: options.default, problem: `must be one of ${choices.join(", ")}; it is ${JSON.stringify(given)}` }
        : { value };
    },
  };
}

/** Text of a given shape, which has no default of its own. */
export function text(
  key: string,
  options: { pattern: RegExp; shape: string; default: undefined; shown: string; about: string },
): Setting<string | undefined> {
  return {
    key,
    unit: "",
    shown: options.shown,
    bound: options.shape,
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: undefined };
      return options.pattern.test(given)
        ? { value: given }
        : { value: undefined, problem: `must be ${options.shape}; it is ${JSON.stringify(given)}` };
    },
  };
}

/** A text that is shown to nobody, also not where it is wrong. */
export function secret(
  key: string,
  options: { minLength: number; maxLength: number; about: string },
): Setting<string | undefined> {
  const { minLength, maxLength, about } = options;
  const bound = `${minLength}–${maxLength} characters`;
  return {
    key,
    unit: "",
    shown: "",
    bound,
    about,
    read(given) {
      if (isUnset(given)) return { value: undefined };
      const isFine = given.length >= minLength && given.length <= maxLength;
      return isFine ? { value: given } : { value: undefined, problem: `must be ${bound}; it has ${given.length}` };
    },
  };
}

/** A path; whether it is there is found out by who uses it. */
export function file(key: string, options: { shown: string; about: string }): Setting<string | undefined> {
  return {
    key,
    unit: "",
    shown: options.shown,
    bound: "a path",
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: undefined };
      return given.includes("\0") ? { value: undefined, problem: "must be a path" } : { value: given };
    },
  };
}

/** Host and port to listen on. */
export interface Address {
  /** An IP address or a host name, without brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`; undefined for anything else. */
export function parseAddress(given: string): Address | undefined {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(given);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

/** Where a server of ours listens. */
export function address(key: string, options: { default: string; about: string }): Setting<Address> {
  const fallback = parseAddress(options.default) ?? { host: "127.0.0.1", port: 0 };
  return {
    key,
    unit: "",
    shown: options.default,
    bound: "host:port, [IPv6]:port",
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: fallback };
      const value = parseAddress(given);
      return value
        ? { value }
        : { value: fallback, problem: `must be host:port (IPv6 in brackets); it is ${JSON.stringify(given)}` };
    },
  };
}

/** A problem never repeats what was given: a URL holds a password. */
function judgeUrl(given: string): string | undefined {
  if (!URL.canParse(given)) return "must be a URL: postgres://user:password@host:5432/database";
  return ["postgres:", "postgresql:"].includes(new URL(given).protocol)
    ? undefined
    : "must begin with postgres:// or postgresql://";
}

/** A database. No problem repeats the URL: it holds a password. */
export function postgresUrl(key: string, options: { required: true; about: string }): Setting<string>;
export function postgresUrl(key: string, options: { required: false; about: string }): Setting<string | undefined>;
export function postgresUrl(key: string, options: { required: boolean; about: string }): Setting<string | undefined> {
  return {
    key,
    unit: "",
    shown: options.required ? "none: must be set" : "",
    bound: "postgres://…",
    about: options.about,
    read(given) {
      if (isUnset(given))
        return options.required
          ? { value: "", problem: "must be set: postgres://user:password@host:5432/database" }
          : { value: undefined };
      const problem = judgeUrl(given);
      return problem === undefined ? { value: given } : { value: given, problem };
    },
  };
}

/** A server of somebody else's, called by us. No problem repeats the URL: it may hold a secret. */
export function httpUrl(key: string, options: { about: string }): Setting<string | undefined> {
  return {
    key,
    unit: "",
    shown: "",
    bound: "http://…, https://…",
    about: options.about,
    read(given) {
      if (isUnset(given)) return { value: undefined };
      const isHttp = URL.canParse(given) && ["http:", "https:"].includes(new URL(given).protocol);
      return isHttp ? { value: given } : { value: undefined, problem: "must be a URL: https://host/path" };
    },
  };
}
