/** The part of smpp 0.5 that is used; the package has no types of its own. */
declare module 'smpp' {
  import type { EventEmitter } from 'node:events';
  import type { Server as NetServer } from 'node:net';

  export interface PDU {
    readonly command: string;
    readonly command_status: number;
    readonly message_id?: string;
    readonly esm_class?: number;
    readonly short_message?: { readonly message?: string | Buffer };
    readonly receipted_message_id?: string;
    readonly message_state?: number;
    readonly [field: string]: unknown;
    response(fields?: Record<string, unknown>): PDU;
  }

  type Command = (fields: Record<string, unknown>, answered?: (pdu: PDU) => void) => boolean;

  export interface Session extends EventEmitter {
    bind_transceiver: Command;
    submit_sm: Command;
    deliver_sm: Command;
    enquire_link: Command;
    unbind: Command;
    send(pdu: PDU): boolean;
    close(): void;
    destroy(): void;
  }

  export function connect(options: { host: string; port: number }): Session;
  export function createServer(listener: (session: Session) => void): NetServer;
}
