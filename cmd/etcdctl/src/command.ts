/** What the commands of this program are made of. */

import type { Command as AnyCommand, CommandLine } from "@etcd-ts/cli";

import type { Run } from "./context.ts";

/** A command that needs nothing but its command line; `text` makes what it prints. */
export interface LocalAction {
  readonly text: (commandLine: CommandLine<Action>) => string;
}

export type Action = Run | LocalAction;
export type Command = AnyCommand<Action>;
