/** Full type name → field name → what the build adds. */
export declare const overlay: Readonly<
  Record<string, Readonly<Record<string, { readonly id: number; readonly type: string; readonly rule?: "repeated"; readonly oneof?: string }>>>
>;
