/**
 * The Auth service. The member tells whether authentication is on; every other call it refuses
 * itself, by name, so that none of them looks as if it had worked.
 */

import { Auth } from "@etcd-ts/api";
import type { MethodDescriptor } from "@etcd-ts/api";

import { answer, contextOf, headerNow } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";

/** A method that never answers with a message. */
type Refused = MethodDescriptor<unknown, never>;

export function registerAuth(parts: ServiceParts): void {
  const { table, server } = parts;
  table.unary(Auth.AuthStatus, (_request, call) => {
    server.authStatus(
      contextOf(call),
      answer(call, ({ enabled, authRevision }) => ({
        $typeName: "etcdserverpb.AuthStatusResponse" as const,
        header: headerNow(server),
        enabled,
        authRevision: BigInt(authRevision),
      })),
    );
  });
  for (const method of Object.values(Auth) as unknown as readonly Refused[]) {
    if (method.path === Auth.AuthStatus.path) continue;
    table.unary(method, (_request, call) => {
      server.authCall(
        method.name,
        contextOf(call),
        answer(call, (result) => result),
      );
    });
  }
}
