/** Who is in the cluster, and changing that. */

import { create } from "@bufbuild/protobuf";
import {
  Cluster,
  MemberAddRequestSchema,
  MemberListRequestSchema,
  MemberPromoteRequestSchema,
  MemberRemoveRequestSchema,
  MemberUpdateRequestSchema,
} from "@etcd-ts/api";
import type {
  MemberAddResponse,
  MemberListResponse,
  MemberPromoteResponse,
  MemberRemoveResponse,
  MemberUpdateResponse,
} from "@etcd-ts/api";

import type { Caller } from "./caller.ts";
import type { RequestOptions } from "./options.ts";

export class ClusterClient {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  list(
    options: RequestOptions & { readonly serializable?: boolean } = {},
  ): Promise<MemberListResponse> {
    const request = create(MemberListRequestSchema, {
      linearizable: options.serializable !== true,
    });
    return this.#caller.unary(Cluster.MemberList, request, "read", options);
  }

  /** @param options.learner - joins without a vote; `promote` gives it one */
  add(
    peerURLs: readonly string[],
    options: RequestOptions & { readonly learner?: boolean } = {},
  ): Promise<MemberAddResponse> {
    const request = create(MemberAddRequestSchema, {
      peerURLs: [...peerURLs],
      isLearner: options.learner ?? false,
    });
    return this.#caller.unary(Cluster.MemberAdd, request, "write", options);
  }

  remove(id: bigint, options: RequestOptions = {}): Promise<MemberRemoveResponse> {
    const request = create(MemberRemoveRequestSchema, { ID: id });
    return this.#caller.unary(Cluster.MemberRemove, request, "write", options);
  }

  update(
    id: bigint,
    peerURLs: readonly string[],
    options: RequestOptions = {},
  ): Promise<MemberUpdateResponse> {
    const request = create(MemberUpdateRequestSchema, { ID: id, peerURLs: [...peerURLs] });
    return this.#caller.unary(Cluster.MemberUpdate, request, "write", options);
  }

  promote(id: bigint, options: RequestOptions = {}): Promise<MemberPromoteResponse> {
    const request = create(MemberPromoteRequestSchema, { ID: id });
    return this.#caller.unary(Cluster.MemberPromote, request, "write", options);
  }
}
