/**
 * One JSON request in progress: body bytes in, a call through the service table, JSON out.
 *
 * Unary calls and server streams take the first object of the body; an empty body is the empty
 * request. Bidirectional streams take every object as it comes, and end their side at the first
 * that is malformed. Answers of streams are lines: `{"result":…}` or, last, `{"error":…}`.
 */

import { GRPC_CODES, RpcError, httpStatusOf } from "@etcd-ts/api";
import { EMPTY_BYTES } from "@etcd-ts/base";

import type { AnyMethod, Peer } from "../call.ts";
import type { ClientStream } from "../client/channel.ts";
import type { InProcessChannel } from "../client/in-process-channel.ts";
import type { MemoryBudget } from "../memory-budget.ts";
import { Metadata } from "../metadata.ts";
import type { GatewayHead } from "./http-metadata.ts";
import {
  escapeForStream,
  jsonFromResponse,
  jsonFromStatus,
  requestFromJson,
} from "./json-mapping.ts";
import { JsonObjectSplitter, JsonTextError } from "./json-text.ts";

export type HeaderList = (readonly [name: string, value: string])[];

/** Where the answer goes. */
export interface GatewayOutput {
  /** A whole answer. */
  answer(status: number, headers: HeaderList, body: string): void;
  /** The head of an answer in lines; called once, before the first `write`. */
  begin(status: number, headers: HeaderList): void;
  /** @returns false if `onDrain` should be awaited */
  write(line: string): boolean;
  end(): void;
}

export interface ExchangeLimits {
  readonly receiveMessageBytesMax: number;
  readonly objectBytesMax: number;
  /** Of the objects of all exchanges that are not complete. */
  readonly memory: MemoryBudget;
}

const CONTENT_TYPE = ["content-type", "application/json"] as const;

/** The answer of an error before anything was sent. */
export function answerError(output: GatewayOutput, code: number, message: string): void {
  const headers: HeaderList = [CONTENT_TYPE];
  if (code === GRPC_CODES.UNAUTHENTICATED && isHeaderValue(message)) {
    headers.push(["www-authenticate", message]);
  }
  output.answer(httpStatusOf(code), headers, jsonFromStatus(code, message));
}

export class GatewayExchange {
  readonly #method: AnyMethod;
  readonly #output: GatewayOutput;
  readonly #limits: ExchangeLimits;
  readonly #splitter: JsonObjectSplitter;
  readonly #open: () => ClientStream<unknown, unknown>;
  #stream: ClientStream<unknown, unknown> | undefined;
  #requestDone = false;
  /** As the budget of all exchanges knows them. */
  #heldBytes = 0;
  #answered = false;
  #begun = false;
  #response: { readonly json: string } | undefined;
  #responseHeaders = new Metadata();

  constructor(
    channel: InProcessChannel,
    method: AnyMethod,
    head: GatewayHead,
    peer: Peer,
    output: GatewayOutput,
    limits: ExchangeLimits,
  ) {
    this.#method = method;
    this.#output = output;
    this.#limits = limits;
    this.#splitter = new JsonObjectSplitter(limits.objectBytesMax);
    limits.memory.join();
    this.#open = () => {
      const { metadata, timeoutMs } = head;
      return channel.stream(method, {
        metadata,
        peer,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      });
    };
  }

  /** Whether its body may go on as long as the client likes. */
  get isBidirectional(): boolean {
    return this.#method.kind === "bidi" || this.#method.kind === "clientStream";
  }

  /** A stream that takes many requests starts before any of them. */
  begin(): void {
    if (this.isBidirectional) this.#start();
  }

  /** Takes bytes of the body. */
  push(chunk: Uint8Array): void {
    if (this.#requestDone) return;
    try {
      this.#splitter.push(chunk, (object) => {
        this.#takeObject(object);
        return !this.#requestDone;
      });
      if (!this.#requestDone && !this.#hold(this.#splitter.heldBytes)) {
        const text = "too many request bodies are being received";
        this.#refuse(new RpcError("TOO_MANY", GRPC_CODES.RESOURCE_EXHAUSTED, text));
      }
    } catch (error) {
      if (!(error instanceof JsonTextError)) throw error;
      const code =
        error.code === "TOO_LARGE" ? GRPC_CODES.RESOURCE_EXHAUSTED : GRPC_CODES.INVALID_ARGUMENT;
      this.#refuse(new RpcError(error.code, code, error.message, { cause: error }));
    }
  }

  /** The body has ended. */
  endBody(): void {
    if (this.#requestDone) return;
    if (this.#splitter.isPartial) {
      this.#refuse(new RpcError("MALFORMED", GRPC_CODES.INVALID_ARGUMENT, "unexpected EOF"));
    } else if (this.isBidirectional) this.#endRequests();
    else this.#takeObject(EMPTY_BYTES);
  }

  /** The client went away. */
  abort(): void {
    this.#bodyDone();
    this.#answered = true;
    this.#stream?.cancel();
  }

  /** The output takes more again. */
  drained(): void {
    this.#stream?.resume();
  }

  #takeObject(json: Uint8Array): void {
    let request: unknown;
    try {
      request = requestFromJson(this.#method, json, this.#limits.receiveMessageBytesMax);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      this.#refuse(error);
      return;
    }
    if (!this.isBidirectional) this.#start();
    this.#stream?.send(request);
    if (!this.isBidirectional) this.#endRequests();
  }

  /** A bad request fails the call, but only ends the sending side of a stream of requests. */
  #refuse(error: RpcError): void {
    if (this.isBidirectional && error.grpcCode === GRPC_CODES.INVALID_ARGUMENT) {
      this.#endRequests();
      return;
    }
    this.#bodyDone();
    this.#finish(error);
    this.#stream?.cancel();
  }

  #hold(bytes: number): boolean {
    const more = bytes - this.#heldBytes;
    this.#heldBytes = bytes;
    return this.#limits.memory.hold(more, bytes);
  }

  /** Nothing more of the body is taken. */
  #bodyDone(): void {
    if (this.#requestDone) return;
    this.#requestDone = true;
    this.#hold(0);
    this.#limits.memory.leave();
  }

  #endRequests(): void {
    this.#bodyDone();
    this.#stream?.end();
  }

  #start(): void {
    const stream = this.#open();
    this.#stream = stream;
    stream.onHeaders((headers) => {
      this.#responseHeaders = headers;
    });
    stream.onMessage((message) => this.#takeResponse(message));
    stream.onEnd((error) => this.#finish(error));
  }

  #takeResponse(message: unknown): void {
    if (this.#answered) return;
    const json = jsonFromResponse(this.#method, message);
    if (this.#method.kind === "unary") {
      this.#response = { json };
      return;
    }
    if (!this.#begun) {
      this.#begun = true;
      this.#output.begin(200, this.#answerHeaders());
    }
    if (!this.#output.write(`{"result":${escapeForStream(json)}}\n`)) this.#stream?.pause();
  }

  #answerHeaders(): HeaderList {
    const headers: HeaderList = [CONTENT_TYPE, ["grpc-metadata-content-type", "application/grpc"]];
    for (const [name, values] of this.#responseHeaders.entries()) {
      for (const value of values) {
        if (isHeaderValue(value)) headers.push([`grpc-metadata-${name}`, value]);
      }
    }
    return headers;
  }

  #finish(error: RpcError | undefined): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#bodyDone();
    if (this.#method.kind === "unary") this.#finishUnary(error);
    else this.#finishStream(error);
  }

  #finishUnary(error: RpcError | undefined): void {
    const failure =
      error ??
      (this.#response === undefined
        ? new RpcError("INTERNAL", GRPC_CODES.INTERNAL, "the call ended without a message")
        : undefined);
    if (failure !== undefined) answerError(this.#output, failure.grpcCode, failure.message);
    else this.#output.answer(200, this.#answerHeaders(), this.#response!.json);
  }

  #finishStream(error: RpcError | undefined): void {
    if (!this.#begun) {
      const headers: HeaderList = error === undefined ? [] : [CONTENT_TYPE];
      this.#output.begin(error === undefined ? 200 : httpStatusOf(error.grpcCode), headers);
    }
    if (error !== undefined) {
      const status = escapeForStream(jsonFromStatus(error.grpcCode, error.message));
      this.#output.write(`{"error":${status}}\n`);
    }
    this.#output.end();
  }
}

/** What Node lets into a header. */
function isHeaderValue(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}
