/**
 * What authentication needs from outside: slow hashes of passwords, and signatures.
 *
 * Both are asynchronous, because both may take longer than a turn should.
 */

/** bcrypt, in the format of Go's library: `$2a$<cost>$<salt and hash>`. */
export interface PasswordHasher {
  /** @throws {EtcdError} for a password that cannot be hashed, or when too many wait */
  hash(password: string): Promise<Uint8Array>;
  /** @throws {EtcdError} when too many wait */
  matches(password: string, hash: Uint8Array): Promise<boolean>;
  /** In this turn; for log entries of etcd before 3.5, which hold passwords. */
  hashNow(password: string): Uint8Array;
}

/** What a signed token says. */
export interface TokenClaims {
  readonly username: string;
  readonly revision: number;
}

/** JSON web tokens under one key and one algorithm. */
export interface TokenSigner {
  /** False if only the public key is there. */
  readonly canSign: boolean;
  sign(claims: TokenClaims): Promise<string>;
  /** What a token was found to say a short while ago, if it is still valid. */
  known(token: string): TokenClaims | undefined;
  /** Undefined for anything but a valid token of this key; never throws. */
  verify(token: string): Promise<TokenClaims | undefined>;
}

/** How tokens are made and read. */
export type TokenKind =
  | { readonly kind: "simple"; readonly ttlMs: number }
  | { readonly kind: "jwt"; readonly signer: TokenSigner }
  /** No tokens: users come with certificates. */
  | { readonly kind: "none" };

export interface AuthPorts {
  /** Undefined: passwords cannot be set or checked. */
  readonly passwords: PasswordHasher | undefined;
  readonly tokens: TokenKind;
}
