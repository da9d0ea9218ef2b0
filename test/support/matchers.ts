/** toMatchObject would take bytes that only begin with the others for the same. */
expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    Buffer.isBuffer(one) && Buffer.isBuffer(other) ? one.equals(other) : undefined,
]);

/** jest has no matcher for "one of these". */
expect.extend({
  toBeOneOf(received: unknown, choices: readonly unknown[]) {
    return {
      pass: choices.includes(received),
      message: () => `expected ${String(received)} to be one of ${choices.map(String).join(', ')}`,
    };
  },
});

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how jest's types are extended
  namespace jest {
    interface Expect {
      /** @types/jest does not know it yet. */
      addEqualityTesters(testers: ((one: unknown, other: unknown) => boolean | undefined)[]): void;
    }
    interface Matchers<R> {
      toBeOneOf(choices: readonly unknown[]): R;
    }
  }
}

export {};
