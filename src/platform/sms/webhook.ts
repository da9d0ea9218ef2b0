/** Texts by HTTP: POST of `{"id":…,"to":…,"text":…}`; any 2xx is delivered (docs/operations.md, "SMS"). */
import type { Handed, OutgoingText, Transport } from './transport';

const TIMEOUT = 10_000;
/** RFC 6585, section 4, and RFC 9110, section 15.6.4. */
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;
/** Seconds without texts for a service that has too many and does not say for how long. */
const DEFAULT_PAUSE = 1;
const STOPS = 'the gateway stops';

export class Webhook implements Transport {
  readonly ready = true;
  private readonly url: string;
  private readonly headers: Record<string, string>;
  private readonly underWay = new Set<AbortController>();
  private closed = false;

  /** @param timeout milliseconds */
  constructor(
    address: string,
    private readonly timeout = TIMEOUT,
  ) {
    const url = new URL(address);
    const { username, password } = url;
    url.username = '';
    url.password = '';
    this.url = url.href;
    const credentials = Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64');
    this.headers = {
      'content-type': 'application/json',
      ...(username + password !== '' && { authorization: `Basic ${credentials}` }),
    };
  }

  async send(text: OutgoingText): Promise<Handed> {
    if (this.closed) return { kind: 'failed', why: STOPS };
    const control = new AbortController();
    const end = (why: string) => control.abort(new Cut(why));
    const timer = setTimeout(() => end(`no answer within ${this.timeout / 1000} s`), this.timeout);
    this.underWay.add(control);
    try {
      const { ok, status, headers } = await this.post(text, control.signal);
      if (ok) return { kind: 'delivered' };
      const pause = pauseOf(status, headers.get('retry-after'), Date.now());
      return { kind: 'failed', why: `HTTP status ${status}`, ...(pause !== undefined && { pause }) };
    } catch (error) {
      return { kind: 'failed', why: reason(error) };
    } finally {
      clearTimeout(timer);
      this.underWay.delete(control);
    }
  }

  close(): Promise<void> {
    this.closed = true;
    for (const control of this.underWay) control.abort(new Cut(STOPS));
    return Promise.resolve();
  }

  private async post({ id, msisdn, text }: OutgoingText, signal: AbortSignal): Promise<Response> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: this.headers,
      body: JSON.stringify({ id, to: msisdn, text }),
      // A redirect could take the text to where nobody configured it to go.
      redirect: 'manual',
      signal,
    });
    // The status is the answer, whatever becomes of the rest.
    response.body?.cancel().catch(() => undefined);
    return response;
  }
}

/**
 * Seconds for which the service wants no texts (RFC 9110, section 10.2.3: seconds, or a date).
 *
 * @param now milliseconds since the epoch
 */
export function pauseOf(status: number, retryAfter: string | null, now: number): number | undefined {
  if (status !== TOO_MANY_REQUESTS && status !== UNAVAILABLE) return undefined;
  const told = retryAfter?.trim() ?? '';
  const seconds = /^\d+$/.test(told) ? Number(told) : (Date.parse(told) - now) / 1_000;
  if (seconds > 0) return seconds;
  return status === TOO_MANY_REQUESTS ? DEFAULT_PAUSE : undefined;
}

/** Why a request was ended from this side. */
class Cut extends Error {}

/** fetch() hides what went wrong one level down. */
function reason(error: unknown): string {
  if (error instanceof Cut) return error.message;
  const { cause } = error as { cause?: { code?: string; message?: string } };
  // https://fetch.spec.whatwg.org/#port-blocking: 6000 and 6667, for example.
  if (cause?.message === 'bad port') return 'fetch() refuses this port: the webhook needs another one';
  return `cannot be reached: ${cause?.code ?? 'connection failed'}`;
}

/** A percent sign that encodes nothing stands for itself. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
