/** A promise, and how it is fulfilled. */

export interface PromiseWithEnd {
  readonly promise: Promise<Error | undefined>;
  readonly end: (error: Error | undefined) => void;
}

export function promiseWithEnd(): PromiseWithEnd {
  let end: (error: Error | undefined) => void = () => undefined;
  const promise = new Promise<Error | undefined>((resolve) => {
    end = resolve;
  });
  return { promise, end };
}
