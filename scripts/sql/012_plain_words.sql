-- works from: 8
--
-- What operators stumbled over: refusals in plain words, and what views and m2m.explain did not tell.

CREATE OR REPLACE FUNCTION m2m.acknowledge_sms(id bigint, error text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  found_status text;
BEGIN
  PERFORM refuse('id', 'must not be NULL; it is the id that take_sms returned with the text') WHERE acknowledge_sms.id IS NULL;
  PERFORM refuse('error', check_text(error));
  SELECT o.status INTO found_status FROM sms_outbox AS o WHERE o.id = acknowledge_sms.id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM refuse('id', format('there is no text %s; m2m.sms_outbox_status shows those that there are', acknowledge_sms.id), 'P0002');
  END IF;
  PERFORM refuse('id', format('text %s waits to be handed out: take_sms does that, and afterwards it can be acknowledged',
    acknowledge_sms.id)) WHERE found_status = 'waiting';
  IF found_status <> 'sending' THEN
    RETURN 'unchanged';
  END IF;
  UPDATE sms_outbox AS o
  SET status = CASE WHEN error IS NULL THEN 'delivered' ELSE 'waiting' END,
      text = CASE WHEN error IS NULL THEN NULL ELSE o.text END,
      opened = NULL, asked_at = NULL, last_error = error,
      next_try_at = CASE WHEN error IS NULL THEN o.next_try_at ELSE now() + interval '30 seconds' END
  WHERE o.id = acknowledge_sms.id;
  RETURN CASE WHEN error IS NULL THEN 'delivered' ELSE 'waiting' END;
END $$;

CREATE OR REPLACE FUNCTION m2m.note_packet(serial text, number bytea, key_id bytea) RETURNS TABLE (imei text, issued_at bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  issued bigint;
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  PERFORM refuse('number', 'must have 8 bytes') WHERE number IS NULL OR octet_length(number) <> 8;
  PERFORM refuse('key_id', 'must have 4 bytes') WHERE key_id IS NULL OR octet_length(key_id) <> 4;
  known := lock_living_terminal(serial);
  PERFORM refuse('serial', format('%s has no base key, and without one it cannot log in both ways; give it one with '
    'm2m.set_credentials(%L, base_key => …), then mint its packet', known.serial, known.serial))
  FROM credential AS c WHERE c.terminal_id = known.id AND c.base_key IS NULL;
  -- After the last revocation, also within its second.
  issued := greatest(floor(extract(epoch FROM now()))::bigint, known.packets_revoked_at + 1);
  INSERT INTO packet (number, terminal_id, key_id, issued_at)
  VALUES (note_packet.number, known.id, note_packet.key_id, issued);
  INSERT INTO audit_log (action, serial, what)
  VALUES ('mint_packet', known.serial, jsonb_build_object('number', encode(number, 'hex'), 'key', encode(key_id, 'hex')));
  RETURN QUERY SELECT known.imei, issued;
END $$;
COMMENT ON FUNCTION m2m.note_packet(text, bytea, bytea) IS
  'For m2m packet mint: notes that a packet is minted for a terminal, which must have a base key, and returns what goes into it.';

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
  f.last_failure_reason,
  t.status_reason,
  t.msisdn
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
COMMENT ON COLUMN m2m.terminal_status.status_reason IS 'What suspend_terminal was told; NULL: nothing.';
COMMENT ON COLUMN m2m.terminal_status.msisdn IS 'The phone number that texts go to; NULL: none.';

CREATE FUNCTION m2m.login_rank(login text) RETURNS integer
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT array_position(ARRAY['wmmp3', 'md5', 'hmac', 'mutual'], login)
$$;
COMMENT ON FUNCTION m2m.login_rank(text) IS 'Internal. Where a way to log in stands, from the weakest on.';

CREATE OR REPLACE FUNCTION m2m.explain_attempt(serial text, entry jsonb) RETURNS TABLE (reason text, advice text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT
    concat_ws('; ',
      coalesce(r.name, entry ->> 'reason') || ': ' || coalesce(r.meaning, 'see docs/operations.md'),
      CASE WHEN judged.clock IS NOT NULL THEN 'its clock was ' || judged.clock[2] || ' ' || judged.clock[1] END,
      CASE WHEN entry ? 'login' THEN 'came by ' || (entry ->> 'login') || CASE
        WHEN entry ->> 'least_login' <> t.least_login OR NOT entry ? 'least_login' AND judged.permitted
        THEN coalesce(', least_login was ' || (entry ->> 'least_login'), '') || '; least_login is ' || t.least_login || ' now'
        ELSE ', least_login is ' || t.least_login END END,
      'IMEI ' || (entry ->> 'imei') || ' in place of ' || t.imei,
      'IMSI ' || (entry ->> 'imsi') || ' in place of ' || t.imsi,
      CASE WHEN entry ->> 'finding' = 'replaced-password' THEN 'replaced ' || date_trunc('second', c.replaced_at) END,
      CASE WHEN t.status = 'suspended' AND entry ->> 'reason' = 'suspended'
        THEN 'since ' || date_trunc('second', t.status_since) || coalesce(': ' || t.status_reason, '') END,
      'from ' || (entry ->> 'address'),
      CASE WHEN (entry ->> 'times')::bigint > 1 THEN (entry ->> 'times') || ' times since '
        || date_trunc('second', to_timestamp((entry ->> 'since')::float8)) END),
    CASE WHEN judged.permitted THEN 'this way in is permitted now' ELSE concat_ws('; ',
      'IMEI ' || (entry ->> 'imei') || ' belongs to terminal ' || other_imei.serial,
      'IMSI ' || (entry ->> 'imsi') || ' belongs to terminal ' || other_imsi.serial
        || ': if the two SIMs changed places, SELECT m2m.swap_sims(''' || explain_attempt.serial || ''', ''' || other_imsi.serial || ''')',
      replace(replace(replace(r.advice, '{serial}', explain_attempt.serial), '{imei}', coalesce(t.imei, '…')), '{imsi}', coalesce(t.imsi, '…')))
    END
  FROM (SELECT) AS once
  LEFT JOIN terminal AS t ON t.serial = explain_attempt.serial
  -- Gateways of before say clock-off-by--4000s.
  CROSS JOIN LATERAL (SELECT regexp_match(entry ->> 'reason', '^clock-(ahead|behind|off)-by-(-?[0-9]+s)$') AS clock,
    coalesce(login_rank(entry ->> 'login') >= login_rank(t.least_login), false) AS permitted) AS judged
  LEFT JOIN reason AS r ON r.name = coalesce(entry ->> 'finding',
    CASE WHEN judged.clock IS NOT NULL THEN 'clock-off' ELSE entry ->> 'reason' END)
  LEFT JOIN credential AS c ON c.terminal_id = t.id
  LEFT JOIN terminal AS other_imei ON other_imei.imei = entry ->> 'imei' AND other_imei.status <> 'retired' AND other_imei.id <> t.id
  LEFT JOIN terminal AS other_imsi ON other_imsi.imsi = entry ->> 'imsi' AND other_imsi.status <> 'retired' AND other_imsi.id <> t.id
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT SELECT ON m2m.migration TO m2m_operator, m2m_monitor;
