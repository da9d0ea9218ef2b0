/** What a playing device shows: tables and sentences for people, or one JSON object a line. */
import { describe } from '../terminal/describe';
import { frameTable, type Direction } from '../terminal/frameTable';

export interface OutputOptions {
  readonly json: boolean;
  /** The bytes of every frame besides. */
  readonly hex: boolean;
}

export class Output {
  constructor(private readonly options: OutputOptions) {}

  frame(direction: Direction, bytes: Buffer): void {
    const { frame, fault } = describe(bytes, false, direction);
    if (frame === undefined) return;
    const hex = this.options.hex ? bytes.toString('hex') : undefined;
    if (this.options.json) {
      return this.line({
        event: 'frame',
        ...frame,
        ...(fault && { fault: fault.name }),
        ...(hex && { hex }),
      });
    }
    const what = `${direction === 'up' ? '->' : '<-'} ${frame.command}${frame.response ? ' response' : ''}`;
    this.text(`${what}\n${frameTable(frame)}${hex === undefined ? '' : `\n  ${hex}`}`);
  }

  /** @param sentence for people; `data` says the same to programs */
  event(event: string, data: object, sentence: string): void {
    if (this.options.json) this.line({ event, ...data });
    else this.text(sentence);
  }

  private line(value: object): void {
    this.text(JSON.stringify(value));
  }

  private text(text: string): void {
    process.stdout.write(`${text}\n`);
  }
}
