/** A service that texts are posted to: answers as told for each phone number, 204 otherwise. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { eventually } from './eventually';

export interface Posted {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly type: string | undefined;
  readonly authorization: string | undefined;
  readonly body: { readonly id: number; readonly to: string; readonly text: string };
}

export class WebhookServer {
  readonly posted: Posted[] = [];
  private readonly answers = new Map<string, (number | 'hang')[]>();
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      void this.take(request).then((status) => {
        if (status === 'hang') return;
        response.writeHead(status, { location: '/elsewhere', 'content-type': 'text/plain' });
        response.end(status === 204 ? undefined : 'as told');
      });
    });
  }

  static async start(): Promise<WebhookServer> {
    const made = new WebhookServer();
    await made.listen(0);
    return made;
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject).listen(port, '127.0.0.1', resolve);
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The next requests for a number, one each; the last stands for all that follow. */
  answer(phone: string, ...answers: (number | 'hang')[]): void {
    this.answers.set(phone, answers);
  }

  to(phone: string): Posted[] {
    return this.posted.filter(({ body }) => body.to === phone);
  }

  /** The texts to a number, once there are that many. */
  got(phone: string, count = 1): Promise<Posted[]> {
    return eventually(`${count} texts to ${phone}`, () => {
      const posted = this.to(phone);
      return Promise.resolve(posted.length >= count ? posted : undefined);
    });
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  private async take(request: IncomingMessage): Promise<number | 'hang'> {
    const body = JSON.parse(await text(request)) as Posted['body'];
    const { method, url: path, headers } = request;
    const type = headers['content-type'];
    this.posted.push({ method, path, type, authorization: headers.authorization, body });
    const answers = this.answers.get(body.to) ?? [204];
    return answers.length > 1 ? answers.shift()! : answers[0]!;
  }
}
