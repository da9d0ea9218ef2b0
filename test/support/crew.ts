/** A TypeScript module of the tests in a process of its own: it is given orders, and answers each. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setPriority } from 'node:os';

const TYPESCRIPT = join(__dirname, '..', '..', 'scripts', 'fuzz', 'typescript.js');

const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** What a module does, by the name of the order. */
export type Orders = Readonly<Record<string, (what: never) => unknown>>;
type What<Given, Name extends keyof Given> = Given[Name] extends (what: infer W) => unknown ? W : never;
type Answer<Given, Name extends keyof Given> = Given[Name] extends (what: never) => infer A
  ? Awaited<A>
  : never;

interface Reply {
  readonly answer?: unknown;
  readonly error?: string;
}

export class Crew<Given extends Orders> {
  private constructor(private readonly child: ChildProcess) {
    living.add(child);
    child.once('close', () => living.delete(child));
  }

  /**
   * @param module absolute; it calls `serve`
   * @param priority os.constants.priority; whoever is not root may only yield
   */
  static start<Given extends Orders>(module: string, priority = 0): Crew<Given> {
    const child = fork(module, { execArgv: ['--require', TYPESCRIPT], serialization: 'advanced' });
    prioritise(child, priority);
    return new Crew<Given>(child);
  }

  /** One order at a time. */
  async ask<Name extends keyof Given & string>(
    order: Name,
    what: What<Given, Name>,
  ): Promise<Answer<Given, Name>> {
    const reply = await new Promise<Reply>((resolve, reject) => {
      const onClose = () => reject(new Error(`the process ended instead of answering ${order}`));
      this.child.once('close', onClose);
      this.child.once('message', (message) => {
        this.child.off('close', onClose);
        resolve(message as Reply);
      });
      this.child.send({ order, what });
    });
    if (reply.error !== undefined) throw new Error(`${order}: ${reply.error}`);
    return reply.answer as Answer<Given, Name>;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}

/** Who may not raise it leaves it as it is. */
export function prioritise({ pid }: ChildProcess, priority: number): void {
  try {
    setPriority(pid!, priority);
  } catch (error) {
    if (priority >= 0) throw error;
  }
}

/** In the module itself. */
export function serve(orders: Orders): void {
  const act = async (order: string, what: unknown): Promise<Reply> => {
    try {
      return { answer: await orders[order]!(what as never) };
    } catch (error) {
      return { error: (error as Error).message };
    }
  };
  process.on('message', ({ order, what }: { order: string; what: unknown }) => {
    void act(order, what).then((reply) => process.send!(reply));
  });
  process.on('disconnect', () => process.exit(0));
}

/** Acts `perSecond` times a second for a time, however late the timer is. @returns how often it acted */
export async function atRate(perSecond: number, milliseconds: number, act: () => void): Promise<number> {
  const begun = performance.now();
  let done = 0;
  for (;;) {
    const elapsed = Math.min(performance.now() - begun, milliseconds);
    for (; done < Math.floor((elapsed / 1000) * perSecond); done++) act();
    if (elapsed >= milliseconds) return done;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
