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
    interface Matchers<R> {
      toBeOneOf(choices: readonly unknown[]): R;
    }
  }
}

export {};
