/** The page docs/settings.md, made from the rows of SETTINGS, so that it cannot tell anything else. */
import { SETTINGS } from './settings';

export function settingsPage(): string {
  const rows = Object.values(SETTINGS).map(
    ({ variable, meaning, permitted, shown }) =>
      `| \`${variable}\` | ${meaning} | ${permitted} | ${shownCell(shown)} |`,
  );
  return [
    '# Settings',
    '',
    'Environment variables. Generated from `src/platform/config/settings.ts` by `npm run settings`.',
    '',
    'All are checked before anything is started. One that is wrong ends the process with exit code 2 and a line that',
    'names the variable, what it holds and what it may hold.',
    '',
    '| variable | meaning | may hold | default |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

function shownCell(shown: string): string {
  return /^[a-z ]+$/.test(shown) ? shown : `\`${shown}\``;
}
