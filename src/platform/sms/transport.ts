/** How texts leave the gateway: what the worker knows of SMPP and webhooks. */

export interface OutgoingText {
  /** Row of m2m.sms_outbox. */
  readonly id: number;
  readonly serial: string;
  /** 5 to 15 digits, with or without a plus sign. */
  readonly msisdn: string;
  /** At most 160 characters of the GSM 7-bit alphabet. */
  readonly text: string;
}

/** What became of a text that was handed over. */
export type Handed =
  | { readonly kind: 'delivered' }
  /** A receipt will tell the rest under this id. */
  | { readonly kind: 'accepted'; readonly messageId: string }
  /**
   * To be tried again. `why` holds neither secrets nor the text. `pause`: the peer wants no texts at all for so many
   * seconds.
   */
  | { readonly kind: 'failed'; readonly why: string; readonly pause?: number };

/** What the network said later about a text that it had accepted. */
export interface Receipt {
  readonly messageId: string;
  /** Digits of numbers, one of which the text went to; empty: the receipt does not tell. */
  readonly phones: readonly string[];
  readonly delivered: boolean;
  /** The network's own word for it. */
  readonly state: string;
}

/** @returns whether it is dealt with for good. If not, whoever sent it must be told to send it again. Never rejects. */
export type TakeReceipt = (receipt: Receipt) => Promise<boolean>;

export interface Transport {
  /** False: there is nobody to hand a text to now. */
  readonly ready: boolean;
  /** Never rejects, and never takes longer than some seconds. */
  send(text: OutgoingText): Promise<Handed>;
  close(): Promise<void>;
}
