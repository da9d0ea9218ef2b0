-- New passwords for a fleet, a wave at a time: as many terminals as given that have no change pending are asked.
-- Run it again until it answers 0; a wave that goes wrong is taken back with cancel_credential_change.
--
--   psql "$(npx m2m db-url)" -f scripts/provisioning/new-passwords-in-waves.sql \
--     -v wave=500 -v since='2026-01-01'

-- Whatever ~/.psqlrc says.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
SELECT count(m2m.request_credential_change(serial, '{uplink,downlink}')) AS asked
FROM (
  SELECT s.serial FROM m2m.terminal_status AS s
  WHERE s.status = 'active' AND s.pending_change IS NULL AND NOT EXISTS (
    SELECT FROM m2m.audit AS a
    WHERE a.serial = s.serial AND a.action = 'request_credential_change' AND a.at >= :'since'
  )
  ORDER BY s.serial LIMIT :wave
) AS next_ones;
