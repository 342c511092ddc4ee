// The signature of a post to somebody else's server: who holds the secret can tell that it is ours, unchanged, and of now.
// In: the body as it goes out, and the time. Out: the header. Called by refusal-webhook.ts; docs/operations.md says how to verify it.
import { createHmac } from "node:crypto";

/** Name of the header, as it is sent. */
export const signatureHeader = "x-chancery-signature";

/** `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>", hexadecimal>`. `nowMs`: since 1970. The time is signed, so that it can't be renewed. */
export function sign(body: string, secret: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000);
  const v1 = createHmac("sha256", secret).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${v1}`;
}
