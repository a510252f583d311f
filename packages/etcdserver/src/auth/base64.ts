/** Base64 with padding (RFC 4648, section 4), as hashes of passwords travel in log entries. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export function base64FromBytes(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const group = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const letters = Math.min(bytes.length - i, 3) + 1;
    for (let j = 0; j < 4; j++) text += j < letters ? ALPHABET[(group >> (18 - 6 * j)) & 63]! : "=";
  }
  return text;
}

/** Undefined if `text` is no base64. */
export function bytesFromBase64(text: string): Uint8Array | undefined {
  const letters = text.replace(/[\r\n]/g, "");
  if (!BASE64.test(letters)) return undefined;
  const padding = letters.endsWith("==") ? 2 : letters.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((letters.length / 4) * 3 - padding);
  for (let i = 0, at = 0; i < letters.length; i += 4) {
    let group = 0;
    for (let j = 0; j < 4; j++) {
      group = (group << 6) | Math.max(ALPHABET.indexOf(letters[i + j]!), 0);
    }
    for (let shift = 16; shift >= 0 && at < bytes.length; shift -= 8) {
      bytes[at++] = (group >> shift) & 255;
    }
  }
  return bytes;
}
