/** Questions only the leader can answer, carried there by a member that is not. */

import { EtcdError, sleep } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import type { Completion, PeerQuestions } from "./server-api.ts";

/** Between two rounds over the leader's URLs. */
const RETRY_MS = 50;

export interface Forwarding<T> {
  readonly deadlineMs: number;
  readonly ask: (questions: PeerQuestions, peerURL: string, timeoutMs: number) => Promise<T>;
  /** Whether an error is the leader's answer; anything else is tried again. */
  readonly isAnswer: (error: EtcdError) => boolean;
  /** This member has become the leader. */
  readonly answerHere: () => void;
}

/** Asks whoever leads until it answers or the time is over. */
export function forwardToLeader<T>(
  core: MemberCore,
  forwarding: Forwarding<T>,
  done: Completion<T>,
): void {
  core.whenLeader((error) => {
    if (error !== undefined) {
      done(error, undefined);
      return;
    }
    askUntilAnswered(core, forwarding).then(
      (answer) => {
        if (answer === "leading") forwarding.answerHere();
        else done(undefined, answer.result);
      },
      (failure: unknown) => {
        if (failure instanceof EtcdError) done(failure, undefined);
        else core.fail(failure);
      },
    );
  });
}

async function askUntilAnswered<T>(
  core: MemberCore,
  { deadlineMs, ask, isAnswer }: Forwarding<T>,
): Promise<{ readonly result: T } | "leading"> {
  const { clock, questions } = core.ports;
  if (questions === undefined) throw SERVER_ERRORS.notLeader;
  for (;;) {
    if (core.isLeader) return "leading";
    for (const url of core.cluster.member(core.leaderID)?.peerURLs ?? []) {
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      try {
        return { result: await ask(questions, url, leftMs) };
      } catch (error) {
        if (!(error instanceof EtcdError) || isAnswer(error)) throw error;
      }
    }
    if (core.end !== undefined) throw core.end;
    if (clock.monotonicMs() >= deadlineMs) throw SERVER_ERRORS.timeout;
    await sleep(clock, RETRY_MS);
  }
}
