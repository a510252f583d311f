import { GRPC_CODES, RPC_ERRORS, RpcError } from "@etcd-ts/api";
import { EtcdError, encodeMessage, invariant } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Both, Down, EchoCodec, Unary, echo } from "../compliance/echo-bed.ts";
import type { Echo } from "../compliance/echo-bed.ts";
import { Metadata, ServiceTable } from "./index.ts";
import type { CallSink, ServerCall, StreamHandler, UnaryHandler } from "./index.ts";

const START = {
  metadata: new Metadata(),
  peer: { address: "test", commonName: undefined },
  startMs: 0,
  deadlineMs: undefined,
};
const GONE = new RpcError("CANCELED", GRPC_CODES.CANCELED, "gone");

/** Records what the call sends. */
class RecordingSink implements CallSink<unknown> {
  readonly log: string[] = [];
  bufferedBytes = 0;
  sendHeaders(): void {
    this.log.push("headers");
  }
  sendMessage(message: unknown): boolean {
    this.log.push(`message ${(message as Echo).text}`);
    return true;
  }
  finish(code: number, message: string): void {
    this.log.push(`finish ${code} ${message}`);
  }
  setPaused(paused: boolean): void {
    this.log.push(paused ? "pause" : "resume");
  }
}

describe("ServerCall.respondEncoded()", () => {
  test("without sendEncoded the message is decoded for the sink", () => {
    const bytes = encodeMessage(EchoCodec, echo("in chunks"));
    const chunks = [bytes.subarray(0, 4), bytes.subarray(4)];
    const { call, sink } = unary((_request, each) => {
      each.respondEncoded({ bytes: bytes.length, chunks });
      each.respondEncoded({ bytes: bytes.length, chunks });
    });
    call.receive(echo(""));
    expect(sink.log).toEqual(["message in chunks", "finish 0 "]);
  });
});

function unary(handler: UnaryHandler<Echo, Echo>): { call: ServerCall; sink: RecordingSink } {
  const table = new ServiceTable();
  table.unary(Unary, handler);
  return begin(table, Unary.path);
}

function stream(
  handler: StreamHandler<Echo, Echo>,
  method = Both,
): { call: ServerCall; sink: RecordingSink } {
  const table = new ServiceTable();
  table.stream(method, handler);
  return begin(table, method.path);
}

function begin(table: ServiceTable, path: string): { call: ServerCall; sink: RecordingSink } {
  const route = table.find(path);
  if (route instanceof RpcError) throw route;
  const sink = new RecordingSink();
  const call = table.start(route, START, sink);
  call.begin();
  return { call, sink };
}

class WorldError extends EtcdError {
  readonly code = "WORLD";
}

describe("ServerCall", () => {
  test("respond() and fail() answer once, whatever comes after", () => {
    const { call, sink } = unary((request, answer) => {
      answer.respond(request);
      answer.fail(RPC_ERRORS.emptyKey);
      answer.respond(request);
    });
    call.receive(echo("a"));
    call.receive(echo("b"));
    call.receiveEnd();
    call.cancel(GONE);
    expect(sink.log).toEqual(["message a", "finish 0 "]);
  });

  test("a handler that throws fails its call with the error's status", () => {
    const throwing = (error: Error) =>
      unary(() => {
        throw error;
      });
    const known = throwing(RPC_ERRORS.emptyKey);
    known.call.receive(echo(""));
    expect(known.sink.log).toEqual(["finish 3 etcdserver: key is not provided"]);
    const unknown = throwing(new WorldError("the disk is on fire"));
    unknown.call.receive(echo(""));
    expect(unknown.sink.log).toEqual(["finish 2 the disk is on fire"]);
  });

  test("a broken invariant is not answered but stops the member", () => {
    const { call } = unary(() => invariant(false, () => "ours"));
    expect(() => call.receive(echo(""))).toThrow("ours");
  });

  test("cancel() tells the handler once, and nothing is sent after", () => {
    let told = 0;
    let late = 0;
    const { call, sink } = stream((handle) => {
      handle.onCancel(() => {
        told++;
        expect([handle.isCancelled, handle.cancelReason?.message]).toEqual([true, "gone"]);
      });
      handle.onMessage((message) => {
        handle.send(message);
      });
    });
    call.receive(echo("a"));
    call.cancel(GONE);
    call.cancel(GONE);
    call.receive(echo("b"));
    call.onCancel(() => late++);
    expect([told, late, call.send(echo("c"))]).toEqual([1, 1, false]);
    expect(sink.log).toEqual(["message a"]);
  });

  test("onCancel() is not called after the call's own end", () => {
    let told = 0;
    const { call } = stream((handle) => {
      handle.onCancel(() => told++);
      handle.end();
    });
    call.cancel(GONE);
    expect(told).toBe(0);
  });

  test("messages and the end reach hooks set late, in order", () => {
    const { call } = stream(() => undefined);
    call.receive(echo("a"));
    call.receive(echo("b"));
    call.receiveEnd();
    const seen: string[] = [];
    call.onEnd(() => seen.push("end"));
    expect(seen).toEqual([]);
    call.onMessage((message) => seen.push((message as Echo).text));
    expect(seen).toEqual(["a", "b", "end"]);
  });

  test("pause() and resume() at any point neither lose, repeat nor reorder", () => {
    const steps = fc.array(fc.constantFrom("message", "pause", "resume", "pauseInside"));
    fc.assert(
      fc.property(steps, (script) => {
        const seen: string[] = [];
        let pauseNext = false;
        const { call } = stream((handle) => {
          handle.onMessage((message) => {
            seen.push(message.text);
            if (pauseNext) handle.pause();
            pauseNext = false;
          });
          handle.onEnd(() => seen.push("end"));
        });
        let sent = 0;
        for (const step of script) {
          if (step === "message") call.receive(echo(`${sent++}`));
          else if (step === "pause") call.pause();
          else if (step === "resume") call.resume();
          else pauseNext = true;
        }
        call.receiveEnd();
        for (let i = 0; i <= sent; i++) call.resume();
        expect(seen).toEqual([...Array.from({ length: sent }, (_, i) => `${i}`), "end"]);
      }),
    );
  });

  test("a server stream gets its first message only", () => {
    const seen: string[] = [];
    const { call } = stream((handle) => {
      handle.onMessage((message) => seen.push(message.text));
    }, Down);
    call.receive(echo("a"));
    call.receive(echo("b"));
    expect(seen).toEqual(["a"]);
  });
});

describe("ServiceTable", () => {
  test("unary() and stream() refuse a method twice or of the wrong kind", () => {
    const table = new ServiceTable();
    table.unary(Unary, () => undefined);
    expect(() => table.unary(Unary, () => undefined)).toThrow("added twice");
    expect(() => table.unary(Both, () => undefined)).toThrow("is bidi");
    expect(() => table.stream(Unary, () => undefined)).toThrow("is unary");
  });

  test("interceptors finish in reverse, and only those that started", () => {
    const table = new ServiceTable();
    const log: string[] = [];
    for (const name of ["a", "b", "c"]) {
      table.intercept({
        onStart: () => {
          log.push(`start ${name}`);
          return name === "b" ? RPC_ERRORS.noLeader : undefined;
        },
        onFinish: (_call, code) => void log.push(`finish ${name} ${code}`),
      });
    }
    table.stream(Both, () => log.push("handler"));
    const { sink } = begin(table, Both.path);
    expect(log).toEqual(["start a", "start b", "finish b 14", "finish a 14"]);
    expect(sink.log).toEqual(["finish 14 etcdserver: no leader"]);
  });
});
