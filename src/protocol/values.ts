/** How TLV values are read and written: one small codec a kind of value, each with its bounds. */

export interface ValueCodec<T> {
  /** Bounds of the value's length in bytes, both inclusive. */
  readonly min: number;
  readonly max: number;
  /** Undefined where the bytes, whose length is within the bounds, are no value of this kind. */
  read(bytes: Buffer): T | undefined;
  write(value: T): Buffer;
}

const unsigned = (size: 1 | 2 | 4, valid: (value: number) => boolean): ValueCodec<number> => ({
  min: size,
  max: size,
  read: (bytes) => {
    const value = bytes.readUIntBE(0, size);
    return valid(value) ? value : undefined;
  },
  write: (value) => {
    const bytes = Buffer.allocUnsafe(size);
    bytes.writeUIntBE(value, 0, size);
    return bytes;
  },
});

const any = (): boolean => true;

export const u8 = (valid: (value: number) => boolean = any): ValueCodec<number> => unsigned(1, valid);
export const u16 = (): ValueCodec<number> => unsigned(2, any);
export const u32 = (valid: (value: number) => boolean = any): ValueCodec<number> => unsigned(4, valid);

export const bytes = (min: number, max = min): ValueCodec<Buffer> => ({
  min,
  max,
  read: (value) => value,
  write: (value) => value,
});

/** Of two sizes and none between: keys and digests come in a short and a long form. */
export const oneOf = (short: number, long: number): ValueCodec<Buffer> => ({
  ...bytes(short, long),
  read: (value) => (value.length === short || value.length === long ? value : undefined),
});

const text = (min: number, max: number, pattern: RegExp): ValueCodec<string> => ({
  min,
  max,
  read: (value) => {
    const read = value.toString('latin1');
    return pattern.test(read) ? read : undefined;
  },
  write: (value) => Buffer.from(value, 'latin1'),
});

export const digits = (min: number, max = min): ValueCodec<string> => text(min, max, /^[0-9]+$/);
export const printable = (min: number, max: number): ValueCodec<string> => text(min, max, /^[\x20-\x7e]+$/);

const NOTHING = Buffer.alloc(0);

/** A tag whose presence is all that it says. */
export const flag = (): ValueCodec<true> => ({ min: 0, max: 0, read: () => true, write: () => NOTHING });
