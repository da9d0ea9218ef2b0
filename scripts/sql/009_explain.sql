-- works from: 8
--
-- Why a terminal does not get in, and what to do about it: m2m.explain.

ALTER TABLE m2m.failure ADD COLUMN recent jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN m2m.failure.recent IS
  'The latest kinds of failed attempts, newest first: at and since (Unix seconds), times, result, reason, finding (a near miss), address, and what the frame claimed.';

ALTER TABLE m2m.credential
  ADD COLUMN replaced_uplink_password bytea,
  ADD COLUMN replaced_at timestamptz;
COMMENT ON COLUMN m2m.credential.replaced_uplink_password IS
  'Sealed as uplink_password was. Lets nobody in: it tells a terminal that still uses it from one that has something else.';

CREATE OR REPLACE FUNCTION m2m.set_credentials(
  serial text, uplink_password bytea DEFAULT NULL, downlink_password bytea DEFAULT NULL, base_key bytea DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  given CONSTANT text[] := array_remove(ARRAY[
    CASE WHEN uplink_password IS NOT NULL THEN 'uplink_password' END,
    CASE WHEN downlink_password IS NOT NULL THEN 'downlink_password' END,
    CASE WHEN base_key IS NOT NULL THEN 'base_key' END], NULL);
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  PERFORM refuse('uplink_password', check_password(uplink_password)) WHERE uplink_password IS NOT NULL;
  PERFORM refuse('downlink_password', check_password(downlink_password)) WHERE downlink_password IS NOT NULL;
  PERFORM refuse('base_key', check_base_key(base_key));
  known := lock_living_terminal(serial);
  IF given = '{}' THEN
    RETURN 'unchanged';
  END IF;
  -- One that was never sealed was never used by a gateway either: it is not kept, so that nothing plain stays.
  UPDATE credential AS c
  SET replaced_uplink_password = c.uplink_password, replaced_at = now()
  WHERE c.terminal_id = known.id AND set_credentials.uplink_password IS NOT NULL AND get_byte(c.uplink_password, 0) = 1;
  UPDATE credential AS c
  SET uplink_password = coalesce(plain_secret(set_credentials.uplink_password), c.uplink_password),
      downlink_password = coalesce(plain_secret(set_credentials.downlink_password), c.downlink_password),
      base_key = coalesce(plain_secret(set_credentials.base_key), c.base_key),
      changed_at = now()
  WHERE c.terminal_id = known.id;
  PERFORM touch(known.id, 'set_credentials', 'identity-changed', jsonb_build_object('set', given));
  RETURN 'changed';
END $$;

CREATE TABLE m2m.reason (
  name text PRIMARY KEY,
  meaning text NOT NULL,
  advice text NOT NULL
);
COMMENT ON TABLE m2m.reason IS
  'What m2m.explain says of a refusal''s reason or of a near miss. {serial}, {imei} and {imsi} stand for the terminal''s.';

INSERT INTO m2m.reason (name, meaning, advice) VALUES
  ('unknown-serial', 'no terminal has this serial',
   'provision it with m2m.provision_terminal, or correct the serial in the terminal'),
  ('wrong-digest', 'the digest is not right under the uplink password, nor under any usual mistake',
   'compare uplink password, IMEI and IMSI with what the terminal holds; npx m2m inspect checks a captured frame; SELECT m2m.set_credentials(''{serial}'', uplink_password => …) gives it a new password'),
  ('below-least-login', 'it came in a weaker way than least_login permits',
   'update the module, or permit it: SELECT m2m.set_least_login(''{serial}'', …)'),
  ('other-imei', 'it is in another module than the one bound to this serial',
   'a new module: SELECT m2m.rebind_terminal(''{serial}'', imei => …, imsi => ''{imsi}''); if nobody put it there: SELECT m2m.suspend_terminal(''{serial}'', …)'),
  ('other-imsi', 'it has another SIM than the one bound to this serial',
   'a new SIM: SELECT m2m.rebind_terminal(''{serial}'', imei => ''{imei}'', imsi => …); if nobody put it there: SELECT m2m.suspend_terminal(''{serial}'', …)'),
  ('other-imei-and-imsi', 'neither module nor SIM are those bound to this serial: another device with its passwords',
   'a device that was replaced: SELECT m2m.rebind_terminal(''{serial}'', …); otherwise a cloned serial: SELECT m2m.suspend_terminal(''{serial}'', …)'),
  ('suspended', 'the terminal is suspended', 'SELECT m2m.resume_terminal(''{serial}'')'),
  ('retired', 'the terminal is retired, which is for good', 'provision the device under another serial'),
  ('clock-off', 'its clock is off by more than M2M_TIMESTAMP_WINDOW',
   'a terminal should correct its clock from the answer; where this goes on its firmware does not'),
  ('frame-taken-before', 'the same frame again: a replay, or firmware that repeats its bytes',
   'each login needs a new timestamp or sequence; where the address is not the terminal''s, somebody plays back what he has recorded'),
  ('too-many-logins', 'more than 64 logins within the window', 'find out why it reconnects: signal, power, or a crash loop'),
  ('no-base-key', 'it asks for a session key and has no base key here',
   'SELECT m2m.set_credentials(''{serial}'', base_key => …)'),
  ('wrong-base-key-digest', 'it asks for a session key under another base key than the one here',
   'SELECT m2m.set_credentials(''{serial}'', base_key => …) with what the terminal holds'),
  ('no-challenge', 'a two-way login without a challenge of its own on that connection',
   'firmware: AUTH_PROOF must follow AUTH_CHALLENGE on the same connection, once'),
  ('third-code', 'the third verification code was made under another base key',
   'SELECT m2m.set_credentials(''{serial}'', base_key => …) with what the terminal holds'),
  ('packet', 'its credential packet does not open for this serial and IMEI',
   'npx m2m packet mint {serial} --hardware-id … makes one for this module'),
  ('hardware-id', 'its credential packet was minted for other hardware',
   'npx m2m packet mint {serial} --hardware-id … makes one for this hardware; where it was not changed, the packet was copied'),
  ('revoked', 'its credential packet is revoked', 'npx m2m packet mint {serial} --hardware-id … makes a new one'),
  ('replaced-password', 'the digest is right under the uplink password that was replaced: the terminal has not taken the new one',
   'set the new one in the terminal, or give the old one back: SELECT m2m.set_credentials(''{serial}'', uplink_password => …)'),
  ('downlink-password', 'the digest is right under the downlink password: the two passwords are mixed up',
   'exchange them in the terminal, or with m2m.set_credentials'),
  ('pending-password', 'the digest is right under a new uplink password that it has not confirmed yet',
   'it must log in under the old one and send CREDENTIAL_CONFIRM; SELECT m2m.cancel_credential_change(''{serial}'') ends the change'),
  ('base-key-as-password', 'the digest is right under the base key in place of the uplink password', 'correct the terminal''s configuration'),
  ('password-padded', 'the digest is right under the uplink password filled up with zero bytes',
   'firmware: the digest takes the password''s own length, not that of the field it is kept in'),
  ('password-line-end', 'the digest is right under the uplink password with another line end or blank at its end',
   'set it again without: SELECT m2m.set_credentials(''{serial}'', uplink_password => …), or in the terminal'),
  ('password-cut-off', 'the digest is right under the beginning of the uplink password',
   'the terminal''s field is too short for it: choose a shorter one with m2m.set_credentials'),
  ('imei-with-nul', 'the digest is right with a NUL behind IMEI or IMSI',
   'firmware: the digest takes their digits only, without a terminating or padding NUL'),
  ('imei-without-check-digit', 'the digest is right with 14 digits of the IMEI, or with 0 for its check digit',
   'firmware: the IMEI has 15 digits, the last being its Luhn digit'),
  ('imei-and-imsi-swapped', 'the digest is right with IMSI before IMEI', 'firmware: IMEI comes first under the digest'),
  ('imei-byte-order', 'the digest is right with the digits of IMEI or IMSI in another order',
   'firmware: digits in reading order, one ASCII byte each, not as packed by the SIM'),
  ('imei-or-imsi-left-out', 'the digest is right without IMEI or IMSI',
   'firmware: both are under the digest, also where the frame does not carry them'),
  ('timestamp-zero', 'the digest is right with timestamp 0',
   'firmware: without a clock, take the time from the gateway''s answer and log in again'),
  ('timestamp-byte-order', 'the digest is right with the timestamp''s bytes reversed', 'firmware: four bytes, most significant first'),
  ('timestamp-in-minutes', 'the digest is right with the time in minutes', 'firmware: seconds since 1970, rounded down to a whole minute'),
  ('timestamp-not-rounded', 'the digest is right with a timestamp that is no whole minute',
   'firmware: without a TIMESTAMP in the frame the digest takes the time rounded down to 60 s'),
  ('clock-local-time', 'the digest is right with a time some hours off', 'firmware: the timestamp is UTC, not local time'),
  ('clock-minutes-off', 'the digest is right with a time some minutes off',
   'its clock: without a TIMESTAMP in the frame it must be right to a minute'),
  ('header-left-out', 'the digest is right without the frame''s header', 'firmware: the digest covers the 28 bytes of the header'),
  ('body-left-out', 'the digest is right without the frame''s body', 'firmware: the digest covers all TLVs before it'),
  ('length-without-digest', 'the digest is right over a header whose length leaves the digest out, or is 0',
   'firmware: write the whole frame''s length, digest included, before the digest is made'),
  ('digest-header-covered', 'the digest is right over the digest''s own tag and length as well',
   'firmware: the digest covers the frame up to its own tag');

CREATE FUNCTION m2m.explain_attempt(serial text, entry jsonb) RETURNS TABLE (reason text, advice text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT
    concat_ws('; ',
      coalesce(r.name, entry ->> 'reason') || ': ' || coalesce(r.meaning, 'see docs/operations.md'),
      CASE WHEN entry ->> 'reason' LIKE 'clock-off-by-%' THEN 'off by ' || substr(entry ->> 'reason', 14) END,
      'came by ' || (entry ->> 'login') || ', least_login is ' || t.least_login,
      'IMEI ' || (entry ->> 'imei') || ' in place of ' || t.imei,
      'IMSI ' || (entry ->> 'imsi') || ' in place of ' || t.imsi,
      CASE WHEN entry ->> 'finding' = 'replaced-password' THEN 'replaced ' || date_trunc('second', c.replaced_at) END,
      CASE WHEN t.status = 'suspended' AND entry ->> 'reason' = 'suspended'
        THEN 'since ' || date_trunc('second', t.status_since) || coalesce(': ' || t.status_reason, '') END,
      'from ' || (entry ->> 'address'),
      CASE WHEN (entry ->> 'times')::bigint > 1 THEN (entry ->> 'times') || ' times since '
        || date_trunc('second', to_timestamp((entry ->> 'since')::float8)) END),
    concat_ws('; ',
      'IMEI ' || (entry ->> 'imei') || ' belongs to terminal ' || other_imei.serial,
      'IMSI ' || (entry ->> 'imsi') || ' belongs to terminal ' || other_imsi.serial
        || ': if the two SIMs changed places, SELECT m2m.swap_sims(''' || explain_attempt.serial || ''', ''' || other_imsi.serial || ''')',
      replace(replace(replace(r.advice, '{serial}', explain_attempt.serial), '{imei}', coalesce(t.imei, '…')), '{imsi}', coalesce(t.imsi, '…')))
  FROM (SELECT coalesce(entry ->> 'finding', CASE WHEN entry ->> 'reason' LIKE 'clock-off-by-%' THEN 'clock-off'
    ELSE entry ->> 'reason' END) AS name) AS named
  LEFT JOIN reason AS r ON r.name = named.name
  LEFT JOIN terminal AS t ON t.serial = explain_attempt.serial
  LEFT JOIN credential AS c ON c.terminal_id = t.id
  LEFT JOIN terminal AS other_imei ON other_imei.imei = entry ->> 'imei' AND other_imei.status <> 'retired' AND other_imei.id <> t.id
  LEFT JOIN terminal AS other_imsi ON other_imsi.imsi = entry ->> 'imsi' AND other_imsi.status <> 'retired' AND other_imsi.id <> t.id
$$;
COMMENT ON FUNCTION m2m.explain_attempt(text, jsonb) IS 'Internal. What an entry of m2m.failure.recent means, and what to do.';

CREATE FUNCTION m2m.explain(serial text) RETURNS TABLE (at timestamptz, result text, reason text, advice text)
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
    SELECT known.status_since, known.status, 'the terminal is ' || known.status || coalesce(': ' || known.status_reason, ''), r.advice
    FROM (SELECT replace(reason.advice, '{serial}', explain.serial) AS advice FROM reason WHERE name = known.status) AS r
    UNION ALL
    SELECT known.created_at, 'provisioned', 'it has not tried to log in since it was provisioned',
      'check its power, its signal, and the address and port it connects to'
    WHERE known.status = 'active' AND NOT EXISTS (SELECT FROM failure AS f WHERE f.serial = explain.serial AND f.recent <> '[]')
      AND NOT EXISTS (SELECT FROM session AS s WHERE s.terminal_id = known.id AND s.last_login_at IS NOT NULL)
  ) AS told ORDER BY told.at DESC;
END $$;
COMMENT ON FUNCTION m2m.explain(text) IS
  'Why a terminal does not get in: what its last attempts came to, newest first; result is what it was told, reason what was behind it, advice what to do. Equal attempts are one row with a count.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT EXECUTE ON FUNCTION m2m.explain TO m2m_operator;
