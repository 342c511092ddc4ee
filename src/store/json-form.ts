// The shape of a model object once it has been through JSON: what was undefined is absent.
// In: a model type. Out: the type of its `spec` column, which each *-row.ts turns back, field by field. Types only.

type OptionalKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? K : never }[keyof T];

/** T as a jsonb column holds it. A field added to the model later is absent in older rows: its default belongs into `from…Row`. */
export type JsonForm<T> = T extends readonly (infer Item)[]
  ? readonly JsonForm<Item>[]
  : T extends object
    ? { readonly [K in Exclude<keyof T, OptionalKeys<T>>]: JsonForm<T[K]> } & {
        readonly [K in OptionalKeys<T>]?: JsonForm<Exclude<T[K], undefined>> | undefined;
      }
    : T;
