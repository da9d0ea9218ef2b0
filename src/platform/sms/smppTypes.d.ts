/** The part of smpp 0.5 that is used; the package has no types of its own. */
declare module 'smpp' {
  /** How a field stands in bytes. TLVs bring their length. */
  interface FieldType {
    read(bytes: Buffer, at: number, length: number): unknown;
    size(value: unknown): number;
    write(value: unknown, bytes: Buffer, at: number): void;
  }
  interface Command {
    readonly id: number;
    readonly command?: string;
    readonly params?: Readonly<Record<string, { readonly type: FieldType }>>;
  }
  interface Tlv {
    readonly id: number;
    readonly type: FieldType;
  }

  /** With the fields that are read, as smppPdu.ts registers them. */
  export class PDU {
    static maxLength: number;
    /** Throws on a body that it cannot decode. */
    constructor(bytes: Buffer);
    constructor(command: string, fields?: Readonly<Record<string, unknown>>);
    readonly source_addr?: string;
    readonly destination_addr?: string;
    readonly esm_class?: number;
    readonly data_coding?: number;
    readonly short_message?: Buffer;
    readonly message_payload?: Buffer;
    readonly receipted_message_id?: Buffer;
    readonly message_state?: Buffer;
    readonly message_id?: string;
    toBuffer(): Buffer;
  }

  export const types: { readonly buffer: FieldType };
  export const tlvs: Readonly<Record<'message_payload' | 'message_state' | 'receipted_message_id', Tlv>>;
  export const commands: { readonly deliver_sm: Command };
  export const commandsById: Readonly<Record<number, Command>>;
  export function addCommand(name: string, command: Command): void;
  export function addTLV(name: string, tlv: Tlv): void;

  export const errors: Readonly<
    Record<
      | 'ESME_RINVCMDID'
      | 'ESME_RMSGQFUL'
      | 'ESME_ROK'
      | 'ESME_RTHROTTLED'
      | 'ESME_RX_P_APPN'
      | 'ESME_RX_T_APPN',
      number
    >
  >;
  export const consts: {
    readonly TON: { readonly INTERNATIONAL: number; readonly UNKNOWN: number };
    readonly NPI: { readonly ISDN: number };
    readonly ENCODING: { readonly SMSC_DEFAULT: number };
    readonly REGISTERED_DELIVERY: { readonly FINAL: number };
  };
}
