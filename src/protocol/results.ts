/** Result codes (docs/protocol.md, "Results"). A new one is one row. */

interface ResultRow {
  readonly code: number;
  /** Whether a response with this result is signed. */
  readonly signed: boolean;
  /** Whether the connection closes after it, whatever the command. */
  readonly closes: boolean;
  readonly text: string;
}

const row = (code: number, signed: boolean, closes: boolean, text: string): ResultRow => ({
  code,
  signed,
  closes,
  text,
});

export const RESULTS = {
  OK: row(0, true, false, 'done'),
  AUTH_FAILED: row(
    1,
    false,
    false,
    'unknown serial, wrong digest, code or packet, or a login weaker than allowed',
  ),
  BINDING_MISMATCH: row(2, true, false, 'IMEI and IMSI are not the ones bound to the serial'),
  SUSPENDED: row(3, true, false, 'terminal is suspended or retired'),
  CLOCK_SKEW: row(
    4,
    true,
    false,
    'timestamp outside the window; the TIMESTAMP of the response tells the time',
  ),
  REPLAY: row(5, true, false, 'frame was taken before, or its sequence does not rise'),
  BUSY: row(6, false, false, 'no capacity now, or the database cannot be reached'),
  MALFORMED: row(7, false, true, 'not a frame of this protocol'),
  UNSUPPORTED_VERSION: row(8, false, true, 'version is not served'),
  UNSUPPORTED_SUITE: row(9, false, false, 'digest suite is not served for this command'),
  NOT_LOGGED_IN: row(10, false, false, 'command needs a session'),
  BASE_KEY_MISMATCH: row(11, true, false, 'BASE_KEY_DIGEST is wrong, or no base key is stored'),
  WAIT_FOR_SMS: row(12, true, false, 'change accepted; new credentials come by SMS'),
  CHANGE_REFUSED: row(13, true, false, 'change is not possible as asked'),
  THROTTLED: row(14, false, false, 'too many attempts'),
  INTERNAL: row(15, false, false, 'the gateway failed; whether the request took effect is not known'),
} as const satisfies Record<string, ResultRow>;

export type ResultName = keyof typeof RESULTS;

export const RESULT_NAMES = Object.keys(RESULTS) as ResultName[];

const BY_CODE = new Map<number, ResultName>(RESULT_NAMES.map((name) => [RESULTS[name].code, name]));

/** The name of a code, or undefined for one that the protocol does not know. */
export function resultName(code: number): ResultName | undefined {
  return BY_CODE.get(code);
}

const LABELS = new Map(RESULT_NAMES.map((name) => [name, name.toLowerCase().replaceAll('_', '-')]));

/** `BINDING_MISMATCH` as logs and metrics spell it: `binding-mismatch`. */
export function resultLabel(name: ResultName): string {
  return LABELS.get(name) as string;
}
