/** What is due when: a binary heap of numbers, for tens of thousands of terminals without a timer each. */

interface Entry {
  readonly at: number;
  readonly item: number;
}

export class Agenda {
  private readonly heap: Entry[] = [];

  get size(): number {
    return this.heap.length;
  }

  add(at: number, item: number): void {
    const { heap } = this;
    let i = heap.push({ at, item }) - 1;
    for (let up = (i - 1) >> 1; i > 0 && at < heap[up]!.at; up = (i - 1) >> 1) {
      this.swap(i, up);
      i = up;
    }
  }

  /** Takes out the earliest item where it is due by `now`; undefined: nothing is. */
  take(now: number): Entry | undefined {
    const { heap } = this;
    const first = heap[0];
    if (first === undefined || first.at > now) return undefined;
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.sink();
    }
    return first;
  }

  private sink(): void {
    const { heap } = this;
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < heap.length && heap[child]!.at < heap[least]!.at) least = child;
      }
      if (least === i) return;
      this.swap(i, least);
      i = least;
    }
  }

  private swap(a: number, b: number): void {
    const { heap } = this;
    [heap[a], heap[b]] = [heap[b]!, heap[a]!];
  }
}
