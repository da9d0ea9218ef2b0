-- works from: 4
--
-- What operators and monitoring read. None of these shows a secret, sealed or not.

CREATE VIEW m2m.live_session AS
SELECT
  t.serial,
  encode(s.session_id, 'hex') AS session_id,
  i.gateway,
  s.address,
  s.started_at,
  s.expires_at,
  -- A gateway that died cannot write down that its connections are gone.
  s.connected AND coalesce(i.seen_at > now() - interval '10 seconds', false) AS connected
FROM m2m.session AS s
JOIN m2m.terminal AS t ON t.id = s.terminal_id
LEFT JOIN m2m.instance AS i ON i.id = s.instance
WHERE s.session_id IS NOT NULL AND s.expires_at > now();
COMMENT ON VIEW m2m.live_session IS
  'Sessions that stand. connected: the terminal is on line; a session outlives its connection and its gateway.';
COMMENT ON COLUMN m2m.live_session.session_id IS '16 lower-case hexadecimal digits.';

CREATE VIEW m2m.terminal_status AS
SELECT
  t.serial,
  t.imei,
  t.imsi,
  t.label,
  t.status,
  t.least_login,
  NULL::text AS pending_change,
  encode(live.session_id, 'hex') AS session_id,
  i.gateway,
  live.address,
  s.last_login_at,
  f.last_failure_at,
  f.last_failure_reason
FROM m2m.terminal AS t
JOIN m2m.session AS s ON s.terminal_id = t.id
LEFT JOIN LATERAL (
  SELECT s.session_id, s.instance, s.address WHERE s.session_id IS NOT NULL AND s.expires_at > now()
) AS live ON true
LEFT JOIN m2m.instance AS i ON i.id = live.instance
LEFT JOIN m2m.failure AS f ON f.serial = t.serial;
COMMENT ON VIEW m2m.terminal_status IS
  'Every terminal and how it stands. session_id, gateway and address are those of the session that stands, else NULL.';
COMMENT ON COLUMN m2m.terminal_status.pending_change IS 'NULL: no change of credentials is pending.';

CREATE VIEW m2m.audit AS
SELECT at, actor, action, serial, what FROM m2m.audit_log;
COMMENT ON VIEW m2m.audit IS 'Who changed what: actor is the database user (session_user). Never a secret; of credentials only which were set.';
