/**
 * One header field, with what the server needs to know of it worked out once.
 *
 * Fields live in HPACK's tables, so a client that repeats its header costs a look-up a field.
 */

/** Names with a meaning of their own; `OTHER` is metadata, `FORBIDDEN` belongs to HTTP/1.1. */
export const FieldKind = {
  OTHER: 0,
  METHOD: 1,
  SCHEME: 2,
  AUTHORITY: 3,
  PATH: 4,
  UNKNOWN_PSEUDO: 5,
  CONTENT_TYPE: 6,
  CONTENT_LENGTH: 7,
  GRPC_TIMEOUT: 8,
  GRPC_ENCODING: 9,
  TE: 10,
  FORBIDDEN: 11,
} as const;
export type FieldKind = (typeof FieldKind)[keyof typeof FieldKind];

const KINDS: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  [":method", FieldKind.METHOD],
  [":scheme", FieldKind.SCHEME],
  [":authority", FieldKind.AUTHORITY],
  [":path", FieldKind.PATH],
  ["content-type", FieldKind.CONTENT_TYPE],
  ["content-length", FieldKind.CONTENT_LENGTH],
  ["grpc-timeout", FieldKind.GRPC_TIMEOUT],
  ["grpc-encoding", FieldKind.GRPC_ENCODING],
  ["te", FieldKind.TE],
  ["connection", FieldKind.FORBIDDEN],
  ["keep-alive", FieldKind.FORBIDDEN],
  ["proxy-connection", FieldKind.FORBIDDEN],
  ["transfer-encoding", FieldKind.FORBIDDEN],
  ["upgrade", FieldKind.FORBIDDEN],
]);

/** HPACK's price of an entry besides its text. */
export const FIELD_OVERHEAD_BYTES = 32;

export class HeaderName {
  readonly text: string;
  readonly kind: FieldKind;
  readonly isValid: boolean;

  constructor(text: string) {
    this.text = text;
    this.kind = KINDS.get(text) ?? (text.startsWith(":") ? FieldKind.UNKNOWN_PSEUDO : 0);
    this.isValid = isValidName(text);
  }
}

export class HeaderField {
  readonly header: HeaderName;
  /** One character a byte. */
  readonly value: string;
  /** Size as HPACK counts. */
  readonly bytes: number;
  readonly isValid: boolean;

  constructor(header: HeaderName, value: string) {
    this.header = header;
    this.value = value;
    this.bytes = header.text.length + value.length + FIELD_OVERHEAD_BYTES;
    this.isValid = header.isValid && isValidValue(value);
  }

  get name(): string {
    return this.header.text;
  }
}

/** RFC 9113, section 8.2.1: visible ASCII without upper case; a colon only in front. */
function isValidName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if (unit <= 0x20 || unit >= 0x7f || (unit >= 0x41 && unit <= 0x5a)) return false;
    if (unit === 0x3a && i > 0) return false;
  }
  return true;
}

/** RFC 9113, section 8.2.1: no NUL, CR or LF, and no blank at either end. */
function isValidValue(value: string): boolean {
  if (value.length === 0) return true;
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i);
    if (unit === 0 || unit === 0x0a || unit === 0x0d) return false;
  }
  return !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(value.length - 1));
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}
