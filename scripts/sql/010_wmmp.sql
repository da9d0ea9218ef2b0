-- works from: 8
--
-- WMMP 3.0 on the same port: what its change of credentials needs, and who still speaks what.

ALTER TABLE m2m.credential
  ADD COLUMN change_shown_id bigint,
  ADD COLUMN change_shown_latest boolean;
COMMENT ON COLUMN m2m.credential.change_shown_id IS
  'Equal to change_id: a login of WMMP 3.0 was made under the pending values, so that the terminal may hold nothing else.';
COMMENT ON COLUMN m2m.credential.change_shown_latest IS
  'The latest login was such a one: its next frame, or a second such login, settles them.';

CREATE FUNCTION m2m.void_unshown_change(terminal_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  -- Waits for a login that is being committed; the next statement sees what it wrote.
  PERFORM FROM credential AS c WHERE c.terminal_id = void_unshown_change.terminal_id FOR NO KEY UPDATE;
  PERFORM FROM credential AS c
  WHERE c.terminal_id = void_unshown_change.terminal_id AND c.change_shown_id = c.change_id;
  IF FOUND THEN
    RAISE NOTICE 'the terminal has logged in under new values that are pending, and may hold nothing else: they stay good beside the current ones';
    RETURN false;
  END IF;
  RETURN void_change(void_unshown_change.terminal_id);
END $$;
COMMENT ON FUNCTION m2m.void_unshown_change(bigint) IS
  'Internal. As void_change, but keeps what a terminal of WMMP 3.0 may hold already: nobody may be locked out.';

CREATE OR REPLACE FUNCTION m2m.touch(
  terminal_id bigint, action text, end_reason text DEFAULT NULL, what jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  touched_serial text;
BEGIN
  IF touch.action IN ('set_credentials', 'drop_base_key') THEN
    PERFORM void_change(touch.terminal_id);
  ELSIF touch.end_reason = 'identity-changed' THEN
    PERFORM void_unshown_change(touch.terminal_id);
  END IF;
  IF touch.end_reason IS NULL THEN
    UPDATE session AS s SET revision = s.revision + 1 WHERE s.terminal_id = touch.terminal_id;
  ELSE
    UPDATE session AS s
    SET revision = s.revision + 1, session_id = NULL, session_key = NULL, connected = false,
        ended_at = CASE WHEN s.session_id IS NULL THEN s.ended_at ELSE now() END,
        end_reason = CASE WHEN s.session_id IS NULL THEN s.end_reason ELSE touch.end_reason END
    WHERE s.terminal_id = touch.terminal_id;
  END IF;
  IF touch.end_reason IN ('identity-changed', 'suspended') OR touch.what ? 'msisdn'
    OR touch.action = 'cancel_credential_change' THEN
    PERFORM void_texts(touch.terminal_id, touch.action);
  END IF;
  SELECT t.serial INTO STRICT touched_serial FROM terminal AS t WHERE t.id = touch.terminal_id;
  INSERT INTO change (terminal_id, serial, action) VALUES (touch.terminal_id, touched_serial, touch.action);
  INSERT INTO audit_log (action, serial, what) VALUES (touch.action, touched_serial, touch.what);
  -- Equal ones of one transaction are folded into one.
  PERFORM pg_notify('m2m_change', '');
END $$;
CREATE OR REPLACE FUNCTION m2m.cancel_credential_change(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
  was_wished boolean;
  was_pending boolean;
BEGIN
  UPDATE credential AS c SET wished_targets = 0 WHERE c.terminal_id = known.id AND c.wished_targets <> 0;
  was_wished := FOUND;
  was_pending := void_unshown_change(known.id);
  IF NOT was_wished AND NOT was_pending THEN
    RETURN 'unchanged';
  END IF;
  PERFORM touch(known.id, 'cancel_credential_change', NULL,
    jsonb_build_object('wish', was_wished, 'pending', was_pending));
  RETURN 'cancelled';
END $$;
COMMENT ON FUNCTION m2m.cancel_credential_change(text) IS
  'Takes the wish for new secrets back and voids a change that is pending, with its unsent texts: ''cancelled'', or ''unchanged'' where there is neither. The terminal goes on with what it has; its session stands. New values under which a terminal of WMMP 3.0 has logged in stay good, as it may hold nothing else.';

INSERT INTO m2m.reason (name, meaning, advice) VALUES
  ('imei-without-nul', 'the digest is right without the NUL behind the IMEI, or with the IMSI not padded',
   'firmware: in WMMP 3.0 the digest takes the IMEI with one zero byte behind it, and the IMSI padded with zero bytes to 15'),
  ('timestamp-not-zero', 'the digest is right with the time of the login', 'firmware: in WMMP 3.0 the digest of LOGIN takes timestamp 0'),
  ('waits-for-session-key', 'the wish for new credentials cannot be sent: a terminal of WMMP 3.0 is given them only where its login asks for a session key',
   'have the terminal ask for one (it needs a base key of 24 bytes on both sides), or set new ones by hand: SELECT m2m.set_credentials(''{serial}'', …)');

CREATE VIEW m2m.terminal_login AS
SELECT t.serial, t.label, t.least_login, s.login AS last_login, s.last_login_at
FROM m2m.terminal AS t
JOIN m2m.session AS s ON s.terminal_id = t.id
WHERE t.status <> 'retired';
COMMENT ON VIEW m2m.terminal_login IS
  'By terminal, without the retired ones: the weakest way in that it is permitted, and the way in which it came last.';
COMMENT ON COLUMN m2m.terminal_login.last_login IS 'wmmp3, md5, hmac or mutual; NULL: it has never logged in.';

CREATE VIEW m2m.login_migration AS
SELECT
  t.least_login,
  s.login AS last_login,
  count(*) AS terminals,
  count(*) FILTER (WHERE s.last_login_at > now() - interval '7 days') AS seen_in_7_days,
  min(s.last_login_at) AS oldest_login_at,
  max(s.last_login_at) AS newest_login_at
FROM m2m.terminal AS t
JOIN m2m.session AS s ON s.terminal_id = t.id
WHERE t.status <> 'retired'
GROUP BY t.least_login, s.login
ORDER BY array_position(ARRAY['wmmp3', 'md5', 'hmac', 'mutual'], t.least_login),
  array_position(ARRAY['wmmp3', 'md5', 'hmac', 'mutual'], s.login) NULLS FIRST;
COMMENT ON VIEW m2m.login_migration IS
  'Who is where on the way from wmmp3 to mutual: terminals that are not retired, by the weakest way in that they are permitted and the way in which they came last.';
COMMENT ON COLUMN m2m.login_migration.last_login IS 'wmmp3, md5, hmac or mutual; NULL: they have never logged in.';
COMMENT ON COLUMN m2m.login_migration.terminals IS
  'Where last_login is stronger than least_login, least_login can be raised: m2m.terminal_login names them.';

CREATE OR REPLACE VIEW m2m.terminal_status AS
SELECT
  t.serial,
  t.imei,
  t.imsi,
  t.label,
  t.status,
  t.least_login,
  CASE
    WHEN c.change_id IS NOT NULL THEN format('pending%s: %s', CASE WHEN c.change_by_sms THEN ' by SMS' END,
      named.targets)
    WHEN c.wished_targets <> 0 THEN 'wished: ' || named.targets
  END || CASE WHEN c.wished_targets <> 0 AND live.login = 'wmmp3' AND NOT live.has_key
    THEN '; waits for a login that asks for a session key' ELSE '' END AS pending_change,
  encode(live.session_id, 'hex') AS session_id,
  i.gateway,
  live.address,
  s.last_login_at,
  f.last_failure_at,
  f.last_failure_reason
FROM m2m.terminal AS t
JOIN m2m.session AS s ON s.terminal_id = t.id
JOIN m2m.credential AS c ON c.terminal_id = t.id
-- Not target_names(): functions that a view calls run with its reader's rights.
CROSS JOIN LATERAL (
  SELECT concat_ws(', ', CASE WHEN mask & 1 <> 0 THEN 'uplink' END, CASE WHEN mask & 2 <> 0 THEN 'downlink' END,
    CASE WHEN mask & 4 <> 0 THEN 'base_key' END) AS targets
  FROM (SELECT coalesce(c.change_targets & ~c.change_settled, c.wished_targets) AS mask) AS shown
) AS named
LEFT JOIN LATERAL (
  SELECT s.session_id, s.instance, s.address, s.login, s.session_key IS NOT NULL AS has_key
  WHERE s.session_id IS NOT NULL AND s.expires_at > now()
) AS live ON true
LEFT JOIN m2m.instance AS i ON i.id = live.instance
LEFT JOIN m2m.failure AS f ON f.serial = t.serial;
COMMENT ON COLUMN m2m.terminal_status.pending_change IS
  'NULL: none. wished: the terminal has not asked for it yet, or cannot be sent it. pending: new values are on their way or not confirmed yet.';

CREATE OR REPLACE FUNCTION m2m.explain(serial text) RETURNS TABLE (at timestamptz, result text, reason text, advice text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  alike text;
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  SELECT * INTO known FROM terminal AS t WHERE t.serial = explain.serial;
  IF known.id IS NULL THEN
    SELECT string_agg(t.serial, ', ') INTO alike FROM (
      SELECT t.serial FROM terminal AS t
      WHERE translate(lower(t.serial), 'o-._', '0') = translate(lower(explain.serial), 'o-._', '0') LIMIT 5) AS t;
    RETURN QUERY SELECT now(), 'not-provisioned', 'no terminal has this serial',
      coalesce('is one of these meant: ' || alike || '?', 'provision it with m2m.provision_terminal, or correct the serial in the terminal');
  END IF;
  RETURN QUERY
  SELECT told.at, told.result, told.reason, told.advice FROM (
    SELECT to_timestamp((e.entry ->> 'at')::float8) AS at, e.entry ->> 'result' AS result, x.reason, x.advice
    FROM failure AS f CROSS JOIN jsonb_array_elements(f.recent) AS e (entry)
      CROSS JOIN LATERAL explain_attempt(explain.serial, e.entry) AS x
    WHERE f.serial = explain.serial
    UNION ALL
    SELECT s.last_login_at, 'ok', 'logged in' || CASE
        WHEN s.session_id IS NULL THEN coalesce('; that session ended ' || date_trunc('second', s.ended_at) || ': ' || s.end_reason, '')
        WHEN s.expires_at <= now() THEN '; that session expired ' || date_trunc('second', s.expires_at)
        ELSE ' by ' || s.login || ' from ' || host(s.address) || '; its session stands until ' || date_trunc('second', s.expires_at) END,
      NULL
    FROM session AS s WHERE s.terminal_id = known.id AND s.last_login_at IS NOT NULL
    UNION ALL
    SELECT s.started_at, 'waiting', r.meaning, replace(r.advice, '{serial}', explain.serial)
    FROM session AS s JOIN credential AS c ON c.terminal_id = s.terminal_id
      CROSS JOIN (SELECT * FROM reason WHERE name = 'waits-for-session-key') AS r
    WHERE s.terminal_id = known.id AND s.session_id IS NOT NULL AND s.expires_at > now()
      AND s.login = 'wmmp3' AND s.session_key IS NULL AND c.wished_targets <> 0
    UNION ALL
    SELECT known.status_since, known.status, 'the terminal is ' || known.status || coalesce(': ' || known.status_reason, ''), r.advice
    FROM (SELECT replace(reason.advice, '{serial}', explain.serial) AS advice FROM reason WHERE name = known.status) AS r
    UNION ALL
    SELECT known.created_at, 'provisioned', 'it has not tried to log in since it was provisioned',
      'check its power, its signal, and the address and port it connects to'
    WHERE known.status = 'active' AND NOT EXISTS (SELECT FROM failure AS f WHERE f.serial = explain.serial AND f.recent <> '[]')
      AND NOT EXISTS (SELECT FROM session AS s WHERE s.terminal_id = known.id AND s.last_login_at IS NOT NULL)
  ) AS told ORDER BY told.at DESC;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT SELECT ON m2m.terminal_login, m2m.login_migration TO m2m_operator, m2m_monitor;
