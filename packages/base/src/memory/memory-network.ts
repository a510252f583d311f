/**
 * Byte streams between hosts in memory, over a clock.
 *
 * A `MemoryNetwork` is the network as the host "localhost" sees it; `host(name)` is the view of
 * another. Which two hosts a connection joins decides its latency and whether it is cut.
 *
 * Invariants:
 * - An address has at most one listener; "0.0.0.0", "::" and "" stand for every host.
 * - `onClose` is called once and last on each end; no handler is called in the turn of the call
 *   that caused it.
 */

import { invariant } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type {
  Connection,
  ConnectionHandlers,
  Listener,
  Network,
  NetworkAddress,
} from "../ports/network.ts";
import { NetworkError } from "../ports/network.ts";
import type { Random } from "../ports/random.ts";
import { MemoryPipe } from "./memory-pipe.ts";

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  /** Splits what arrives at arbitrary places. Default: it arrives as it was written. */
  readonly random?: Random;
  /** Queued bytes from which `write` returns false. Default: 64 KiB. */
  readonly highWaterBytes?: number;
  /** Time from one host to another. Default: 0, a turn. */
  readonly latencyMs?: (from: string, to: string) => number;
}

const LOCALHOST = "localhost";
const EPHEMERAL_PORT_FIRST = 32_768;
const WILDCARD_HOSTS = ["0.0.0.0", "::", ""];

type Bound = {
  readonly owner: string;
  readonly address: NetworkAddress;
  readonly accept: (connection: Connection) => void;
};

export class MemoryNetwork implements Network {
  readonly clock: Clock;
  readonly random: Random | undefined;
  readonly highWaterBytes: number;
  readonly #latencyMs: (from: string, to: string) => number;
  readonly #listeners = new Map<string, Bound>();
  readonly #connections = new Set<MemoryConnection>();
  readonly #cuts = new Set<string>();
  readonly #refused = new Set<string>();
  #nextPort = EPHEMERAL_PORT_FIRST;

  constructor(options: MemoryNetworkOptions) {
    this.clock = options.clock;
    this.random = options.random;
    this.highWaterBytes = options.highWaterBytes ?? 65_536;
    this.#latencyMs = options.latencyMs ?? (() => 0);
  }

  listen(address: NetworkAddress, accept: (connection: Connection) => void): Promise<Listener> {
    return this.#listenAs(LOCALHOST, address, accept);
  }

  dial(address: NetworkAddress, options: { readonly timeoutMs: number }): Promise<Connection> {
    return this.#dialAs(LOCALHOST, address, options.timeoutMs);
  }

  /** The network as `name` sees it. */
  host(name: string): Network {
    return {
      listen: (address, accept) => this.#listenAs(name, address, accept),
      dial: (address, options) => this.#dialAs(name, address, options.timeoutMs),
    };
  }

  /** Lets nothing through between two hosts, in both directions; bytes wait, dials time out. */
  cut(a: string, b: string): void {
    this.#cuts.add(linkKey(a, b));
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(linkKey(a, b));
    for (const connection of this.#connections) connection.wake();
  }

  healAll(): void {
    this.#cuts.clear();
    for (const connection of this.#connections) connection.wake();
  }

  isCut(a: string, b: string): boolean {
    return this.#cuts.has(linkKey(a, b));
  }

  /** Resets all connections between two hosts. */
  reset(a: string, b: string): void {
    for (const connection of [...this.#connections]) {
      const { from, to } = connection;
      if (linkKey(from, to) === linkKey(a, b)) connection.fail(resetError());
    }
  }

  /** A host loses power: its listeners vanish and its peers see a reset. */
  crashHost(name: string): void {
    for (const [key, bound] of this.#listeners) {
      if (bound.owner === name) this.#listeners.delete(key);
    }
    for (const connection of [...this.#connections]) {
      if (connection.from === name) connection.silence();
    }
    // Ends whose own end on that host had closed before.
    for (const connection of [...this.#connections]) {
      if (connection.to === name) connection.receiveReset();
    }
  }

  /** Refuses dials to `address` until `accept`, whether anyone listens or not. */
  refuse(address: NetworkAddress): void {
    this.#refused.add(addressKey(address));
  }

  accept(address: NetworkAddress): void {
    this.#refused.delete(addressKey(address));
  }

  latencyMs(from: string, to: string): number {
    return this.#latencyMs(from, to);
  }

  /** Forgets a connection that has closed; for its ends. */
  forget(connection: MemoryConnection): void {
    this.#connections.delete(connection);
  }

  async #listenAs(
    owner: string,
    wanted: NetworkAddress,
    accept: (connection: Connection) => void,
  ): Promise<Listener> {
    const address =
      wanted.kind === "tcp" && wanted.port === 0 ? { ...wanted, port: this.#nextPort++ } : wanted;
    const key = addressKey(address);
    if (this.#listeners.has(key)) {
      throw new NetworkError("ADDRESS_IN_USE", `listen ${key}: address already in use`);
    }
    const bound = { owner, address, accept };
    this.#listeners.set(key, bound);
    const close = async (): Promise<void> => {
      if (this.#listeners.get(key) === bound) this.#listeners.delete(key);
    };
    return { address, close };
  }

  #dialAs(from: string, address: NetworkAddress, timeoutMs: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const startedMs = this.clock.monotonicMs();
      const attempt = (): void => {
        const bound = this.#find(address);
        const to = bound?.owner ?? (address.kind === "tcp" ? address.host : LOCALHOST);
        if (this.isCut(from, to)) {
          const leftMs = startedMs + timeoutMs - this.clock.monotonicMs();
          const text = `dial ${addressKey(address)}: i/o timeout`;
          this.clock.setTimer(leftMs, () => reject(new NetworkError("TIMED_OUT", text)));
        } else if (bound === undefined || this.#refused.has(addressKey(address))) {
          reject(new NetworkError("REFUSED", `dial ${addressKey(address)}: connection refused`));
        } else resolve(this.#connect(from, bound));
      };
      const delayMs = this.#latencyMs(from, address.kind === "tcp" ? address.host : from);
      if (delayMs > 0) this.clock.setTimer(delayMs, attempt);
      else this.clock.nextTurn(attempt);
    });
  }

  #find(address: NetworkAddress): Bound | undefined {
    const exact = this.#listeners.get(addressKey(address));
    if (exact !== undefined || address.kind === "unix") return exact;
    for (const host of WILDCARD_HOSTS) {
      const bound = this.#listeners.get(addressKey({ ...address, host }));
      if (bound !== undefined) return bound;
    }
    return undefined;
  }

  #connect(from: string, bound: Bound): Connection {
    const port = this.#nextPort++;
    const isTcp = bound.address.kind === "tcp";
    const origin: NetworkAddress = isTcp ? { kind: "tcp", host: from, port } : bound.address;
    const near = new MemoryConnection(this, from, bound.owner, bound.address);
    const far = new MemoryConnection(this, bound.owner, from, origin);
    const forth = near.pipeTo(far);
    const back = far.pipeTo(near);
    near.join(far, forth, back);
    far.join(near, back, forth);
    this.#connections.add(near).add(far);
    bound.accept(far);
    return near;
  }
}

class MemoryConnection implements Connection {
  readonly remote: NetworkAddress;
  readonly from: string;
  readonly to: string;
  readonly #network: MemoryNetwork;
  #handlers: ConnectionHandlers | undefined = undefined;
  #peer: MemoryConnection | undefined = undefined;
  /** What this end sends, and what it receives. */
  #out: MemoryPipe | undefined = undefined;
  #in: MemoryPipe | undefined = undefined;
  #hasEnded = false;
  #peerHasEnded = false;
  #isClosed = false;

  constructor(network: MemoryNetwork, from: string, to: string, remote: NetworkAddress) {
    this.#network = network;
    this.from = from;
    this.to = to;
    this.remote = remote;
  }

  pipeTo(peer: MemoryConnection): MemoryPipe {
    const network = this.#network;
    return new MemoryPipe(
      {
        clock: network.clock,
        random: network.random,
        highWaterBytes: network.highWaterBytes,
        latencyMs: () => network.latencyMs(this.from, this.to),
        isCut: () => network.isCut(this.from, this.to),
      },
      {
        onData: (bytes) => peer.handlers().onData(bytes),
        onEnd: () => peer.receiveEnd(),
        onDrain: () => this.handlers().onDrain(),
      },
    );
  }

  join(peer: MemoryConnection, out: MemoryPipe, incoming: MemoryPipe): void {
    this.#peer = peer;
    this.#out = out;
    this.#in = incoming;
  }

  setHandlers(handlers: ConnectionHandlers): void {
    invariant(this.#handlers === undefined, () => "setHandlers: called twice");
    this.#handlers = handlers;
  }

  write(bytes: Uint8Array): boolean {
    invariant(!this.#hasEnded, () => "Connection.write: after end");
    return this.#out!.write(bytes);
  }

  pause(): void {
    this.#in!.pause();
  }

  resume(): void {
    this.#in!.resume();
  }

  end(): void {
    if (this.#hasEnded || this.#isClosed) return;
    this.#hasEnded = true;
    this.#out!.end();
    if (this.#peerHasEnded) this.close(undefined);
  }

  destroy(): void {
    if (this.#isClosed) return;
    this.#out!.drop();
    this.#in!.drop();
    this.close(undefined);
    this.#peer!.receiveReset();
  }

  /** Closes both ends with an error. */
  fail(error: NetworkError): void {
    this.#out!.drop();
    this.#in!.drop();
    this.close(error);
    this.#peer!.close(error);
  }

  /** Closes this end without telling anyone: its host is gone. */
  silence(): void {
    this.#isClosed = true;
    this.#out!.drop();
    this.#in!.drop();
    this.#network.forget(this);
    this.#peer!.receiveReset();
  }

  wake(): void {
    // The other end may have closed with bytes of its own still under way.
    this.#out!.wake();
    this.#in!.wake();
  }

  receiveEnd(): void {
    if (this.#isClosed) return;
    this.#peerHasEnded = true;
    this.handlers().onEnd();
    if (this.#hasEnded) this.close(undefined);
  }

  receiveReset(): void {
    const delayMs = this.#network.latencyMs(this.to, this.from);
    this.#network.clock.setTimer(delayMs, () => this.close(resetError()));
  }

  close(error: NetworkError | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#network.forget(this);
    this.#network.clock.nextTurn(() => this.handlers().onClose(error));
  }

  handlers(): ConnectionHandlers {
    invariant(this.#handlers !== undefined, () => "Connection: no handlers were set");
    return this.#handlers;
  }
}

function linkKey(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`;
}

function addressKey(address: NetworkAddress): string {
  return address.kind === "unix" ? `unix:${address.path}` : `${address.host}:${address.port}`;
}

function resetError(): NetworkError {
  return new NetworkError("RESET", "connection reset by peer");
}
