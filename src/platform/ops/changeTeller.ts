/** What operators changed in SQL, told in the log. */
import type { Change } from '../store/changeFeed';
import type { Log } from './log';

/** Changes that get a line each; of more at once only the number is told. */
const TOLD_SINGLY = 100;

export function changeTeller(log: Log): (changes: readonly Change[]) => void {
  return (changes) => {
    const made = changes.filter(({ targeted }) => !targeted);
    if (made.length <= TOLD_SINGLY) return made.forEach((change) => tell(log, change));
    log.event('terminal-changed', {
      message: `${made.length} terminals changed in SQL`,
      count: made.length,
    });
  };
}

function tell(log: Log, { serial, action, address }: Change): void {
  if (action === 'lift_throttle') {
    const whose = serial === '' ? 'all serials' : serial;
    return log.event('throttle-lifted', {
      message: `failed attempts of ${whose} from ${address ?? 'everywhere'} are forgotten`,
      serial: serial === '' ? undefined : serial,
    });
  }
  const provisioned = action === 'terminal-provisioned';
  log.event(provisioned ? 'terminal-provisioned' : 'terminal-changed', {
    message: provisioned ? `${serial} provisioned` : `${serial} changed: ${action}`,
    detail: provisioned ? undefined : action,
    serial,
  });
}
