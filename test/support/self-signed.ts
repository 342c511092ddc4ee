// A self-signed certificate, made when a test needs one: nothing secret in the repository, no openssl on the machine.
// Node can sign but not write certificates, so the few DER structures of X.509 are spelled out here (RFC 5280 §4.1).
import { generateKeyPairSync, sign } from "node:crypto";

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
const sequence = (...parts: readonly Buffer[]): Buffer => der(0x30, ...parts);
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const utcTime = (date: Date): Buffer => {
  const digits = date.toISOString().replaceAll(/[-:T]/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
};

/** 1.2.840.10045.4.3.2: ECDSA with SHA-256. */
const ecdsaWithSha256 = sequence(der(0x06, hex("2a8648ce3d040302")));
/** 2.5.4.3: common name. */
const commonName = (name: string): Buffer =>
  sequence(der(0x31, sequence(der(0x06, hex("550403")), der(0x0c, Buffer.from(name)))));

const dayMs = 86_400_000;

/** A key and a certificate whose subject is `name`, valid from yesterday to tomorrow, as PEM. */
export function selfSigned(name: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const now = Date.now();
  const toBeSigned = sequence(
    der(0x02, hex("01")),
    ecdsaWithSha256,
    commonName(name),
    sequence(utcTime(new Date(now - dayMs)), utcTime(new Date(now + dayMs))),
    commonName(name),
    publicKey.export({ type: "spki", format: "der" }),
  );
  const signature = sign("sha256", toBeSigned, privateKey);
  const certificate = sequence(toBeSigned, ecdsaWithSha256, der(0x03, hex("00"), signature));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n"),
  };
}
