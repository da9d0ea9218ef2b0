-- works from: 8
--
-- What two sessions of operators do at the same moment, and what becomes of a wish, a pending change and an advice when
-- the terminal is retired, rebound or mended meanwhile.

CREATE FUNCTION m2m.refuse_raced(index_name text, detail text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  -- The detail is in the server's language; the value's place is the same in all of them.
  PERFORM refuse(split_part(index_name, '_', 2), format('%s has just been taken by another session; nothing was changed, '
    'try again in a new transaction', coalesce(substring(detail FROM '=[(]([^)]*)[)]'), 'it')), '40001');
END $$;
COMMENT ON FUNCTION m2m.refuse_raced(text, text) IS
  'Internal. Raises for a unique index of m2m.terminal that was found violated (its name, and the error''s detail) by a row that this transaction cannot see yet.';

CREATE OR REPLACE FUNCTION m2m.rebind_terminal(serial text, imei text, imsi text, msisdn text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  changed jsonb;
  index_name text;
  detail text;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('imei', check_imei(imei));
  PERFORM refuse('imsi', check_imsi(imsi)), refuse('msisdn', check_msisdn(msisdn));
  known := lock_living_terminal(serial);
  changed := differences(to_jsonb(known), jsonb_build_object('imei', imei, 'imsi', imsi, 'msisdn', msisdn));
  IF changed = '{}' THEN
    RETURN 'unchanged';
  END IF;
  BEGIN
    UPDATE terminal AS t
    SET imei = rebind_terminal.imei, imsi = rebind_terminal.imsi, msisdn = rebind_terminal.msisdn
    WHERE t.id = known.id;
  EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS index_name = CONSTRAINT_NAME, detail = PG_EXCEPTION_DETAIL;
    PERFORM refuse_taken('imei', imei, serial), refuse_taken('imsi', imsi, serial);
    PERFORM refuse_raced(index_name, detail);
  END;
  PERFORM touch(known.id, 'rebind_terminal', CASE WHEN changed ?| ARRAY['imei', 'imsi'] THEN 'identity-changed' END, changed);
  RETURN 'rebound';
END $$;
COMMENT ON FUNCTION m2m.rebind_terminal(text, text, text, text) IS
  'Binds a terminal to another module or SIM: ''rebound'', or ''unchanged''. Without msisdn (or with NULL) its phone number is cleared, so that no new secret goes to the old SIM''s holder. Ends its session (DISCONNECT 3) where IMEI or IMSI changes; with another phone number only the session stands. Voids a pending change and its unsent texts either way.';

CREATE OR REPLACE FUNCTION m2m.touch(
  terminal_id bigint, action text, end_reason text DEFAULT NULL, what jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  touched_serial text;
BEGIN
  IF touch.action IN ('set_credentials', 'drop_base_key') THEN
    PERFORM void_change(touch.terminal_id);
  ELSIF touch.end_reason = 'identity-changed' OR touch.action = 'rebind_terminal' THEN
    -- Of a number alone as well: the SIM that held it may have had the new values in plain.
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

CREATE OR REPLACE FUNCTION m2m.target_mask(targets text[]) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  target text;
  mask integer := 0;
BEGIN
  PERFORM refuse('targets', 'must name at least one of uplink, downlink, base_key')
  WHERE coalesce(cardinality(targets), 0) = 0;
  FOREACH target IN ARRAY targets LOOP
    PERFORM refuse('targets', format('%L is none of uplink, downlink, base_key', left(target, 40)))
    WHERE target IS NULL OR target NOT IN ('uplink', 'downlink', 'base_key');
    mask := mask | CASE target WHEN 'uplink' THEN 1 WHEN 'downlink' THEN 2 ELSE 4 END;
  END LOOP;
  RETURN mask;
END $$;

CREATE OR REPLACE FUNCTION m2m.drop_base_key(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
BEGIN
  -- With the wish for another one: a terminal without a base key is refused it, and would ask again for ever.
  UPDATE credential AS c SET base_key = NULL, wished_targets = c.wished_targets & ~4, changed_at = now()
  WHERE c.terminal_id = known.id AND c.base_key IS NOT NULL;
  IF NOT FOUND THEN
    RETURN 'unchanged';
  END IF;
  PERFORM touch(known.id, 'drop_base_key', 'identity-changed', '{"dropped": ["base_key"]}');
  RETURN 'dropped';
END $$;
COMMENT ON FUNCTION m2m.drop_base_key(text) IS
  'Takes the base key away from a terminal, with the wish for a new one: ''dropped'', or ''unchanged'' where it has none. Ends its session (DISCONNECT 3). Without a base key it gets no session key and cannot log in both ways.';

CREATE OR REPLACE FUNCTION m2m.retire_terminal(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_terminal(serial);
BEGIN
  IF known.status = 'retired' THEN
    RETURN 'unchanged';
  END IF;
  -- Nobody could take either back later.
  UPDATE credential AS c SET wished_targets = 0 WHERE c.terminal_id = known.id AND c.wished_targets <> 0;
  PERFORM void_change(known.id);
  PERFORM set_status(known, 'retired', NULL, 'retire_terminal', 'suspended');
  RETURN 'retired';
END $$;
COMMENT ON FUNCTION m2m.retire_terminal(text) IS
  'Takes a terminal out of service for good: ''retired'', or ''unchanged''. Frees its IMEI and IMSI for others; its serial still answers SUSPENDED. Ends its session (DISCONNECT 2), the wish for new secrets and a pending change.';

SELECT m2m.void_change(id) FROM m2m.terminal WHERE status = 'retired';
UPDATE m2m.credential AS c SET wished_targets = 0
FROM m2m.terminal AS t WHERE t.id = c.terminal_id AND t.status = 'retired' AND c.wished_targets <> 0;
UPDATE m2m.credential SET wished_targets = wished_targets & ~4 WHERE base_key IS NULL AND wished_targets & 4 <> 0;

-- Without a temporary table: not every owner of a schema may have one, and its name may be taken.
DROP FUNCTION m2m.import_good();
CREATE FUNCTION m2m.import_good(bad bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp
SET enable_nestloop = off SET standard_conforming_strings = on AS $$
BEGIN
  WITH good AS (
    SELECT i.* FROM terminal_import AS i
    WHERE NOT EXISTS (SELECT FROM unnest(bad) AS f (line) WHERE f.line = i.line)
      AND NOT EXISTS (SELECT FROM terminal AS t WHERE t.serial = i.serial)
  ), added AS (
    INSERT INTO terminal (serial, imei, imsi, msisdn, label, least_login)
    SELECT g.serial, g.imei, g.imsi, g.msisdn, g.label, coalesce(g.least_login, 'md5') FROM good AS g ORDER BY g.line
    RETURNING terminal.id, terminal.serial, terminal.imei, terminal.imsi, terminal.msisdn, terminal.label, terminal.least_login
  ), credentials AS (
    INSERT INTO credential (terminal_id, uplink_password, downlink_password, base_key)
    -- As plain_secret() would; the checks have seen that each is a bytea.
    SELECT a.id, '\x00'::bytea || g.uplink_password::bytea, '\x00'::bytea || g.downlink_password::bytea,
           '\x00'::bytea || g.base_key::bytea
    FROM added AS a JOIN good AS g ON g.serial = a.serial
  ), sessions AS (
    INSERT INTO session (terminal_id) SELECT a.id FROM added AS a
  ), fed AS (
    INSERT INTO change (terminal_id, serial, action) SELECT a.id, a.serial, 'terminal-provisioned' FROM added AS a
  )
  INSERT INTO audit_log (action, serial, what)
  SELECT 'terminal-provisioned', a.serial, jsonb_build_object('imei', a.imei, 'imsi', a.imsi, 'msisdn', a.msisdn,
    'least_login', a.least_login, 'label', a.label, 'base_key', g.base_key IS NOT NULL, 'import_line', g.line)
  FROM added AS a JOIN good AS g ON g.serial = a.serial;
  PERFORM pg_notify('m2m_change', '');
END $$;
COMMENT ON FUNCTION m2m.import_good(bigint[]) IS 'Internal. Provisions the lines of an import but for the bad ones.';

CREATE OR REPLACE FUNCTION m2m.import_terminals(all_or_nothing boolean DEFAULT true)
RETURNS TABLE (line bigint, column_name text, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  lines bigint[];
  columns text[];
  reasons text[];
  tries integer := 0;
  index_name text;
  detail text;
BEGIN
  PERFORM refuse('all_or_nothing', 'must not be NULL') WHERE all_or_nothing IS NULL;
  -- As number_import() does: nobody adds lines, and no other import runs, between the look and the end. A stronger
  -- lock would wait crosswise with whoever waits in that trigger.
  LOCK TABLE terminal_import IN SHARE UPDATE EXCLUSIVE MODE;
  -- What was just loaded has no statistics, and 100,000 lines joined line by line take for ever.
  ANALYZE terminal_import;
  -- Lines of a transaction before this one may be deleted by others at any moment: between the look and the end that
  -- would be an import that took nothing, and found nothing wrong. Gateways, which clear up, pass over what is held.
  PERFORM FROM terminal_import AS i WHERE i.loaded_at <> now() FOR UPDATE;
  LOOP
    SELECT array_agg(f.line), array_agg(f.column_name), array_agg(f.reason)
    INTO lines, columns, reasons FROM import_faults() AS f;
    EXIT WHEN lines IS NOT NULL AND all_or_nothing;
    BEGIN
      PERFORM import_good(lines);
      EXIT;
    EXCEPTION WHEN unique_violation THEN
      GET STACKED DIAGNOSTICS index_name = CONSTRAINT_NAME, detail = PG_EXCEPTION_DETAIL;
    END;
    -- Provisioned by others since the look: another one finds what is wrong now, where this transaction can see it.
    tries := tries + 1;
    IF tries = 5 OR current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM refuse_raced(index_name, detail);
    END IF;
  END LOOP;
  DELETE FROM terminal_import;
  RETURN QUERY SELECT * FROM unnest(lines, columns, reasons) AS f ORDER BY 1, 2;
END $$;

CREATE OR REPLACE FUNCTION m2m.number_import() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  -- One loads at a time, until its transaction ends: two would count from 1 both.
  LOCK TABLE terminal_import IN SHARE UPDATE EXCLUSIVE MODE;
  -- Each time: a sequence does not go back with a transaction, and lines of before a DELETE may have come back.
  PERFORM setval(pg_get_serial_sequence('m2m.terminal_import', 'line'),
    (SELECT coalesce(max(i.line), 0) + 1 FROM terminal_import AS i), false);
  RETURN NULL;
END $$;

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
      'IMEI ' || (entry ->> 'imei') || CASE WHEN entry ->> 'imei' = t.imei THEN ', which is bound to it now' ELSE ' in place of ' || t.imei END,
      'IMSI ' || (entry ->> 'imsi') || CASE WHEN entry ->> 'imsi' = t.imsi THEN ', which is bound to it now' ELSE ' in place of ' || t.imsi END,
      CASE WHEN entry ->> 'finding' = 'replaced-password' THEN 'replaced ' || date_trunc('second', c.replaced_at) END,
      CASE WHEN t.status = 'suspended' AND entry ->> 'reason' = 'suspended'
        THEN 'since ' || date_trunc('second', t.status_since) || coalesce(': ' || t.status_reason, '') END,
      'from ' || (entry ->> 'address'),
      CASE WHEN (entry ->> 'times')::bigint > 1 THEN (entry ->> 'times') || ' times since '
        || date_trunc('second', to_timestamp((entry ->> 'since')::float8)) END),
    CASE WHEN t.status = 'retired' THEN gone.advice ELSE coalesce(judged.settled, concat_ws('; ',
      'IMEI ' || (entry ->> 'imei') || ' belongs to terminal ' || other_imei.serial,
      'IMSI ' || (entry ->> 'imsi') || ' belongs to terminal ' || other_imsi.serial
        || ': if the two SIMs changed places, SELECT m2m.swap_sims(''' || explain_attempt.serial || ''', ''' || other_imsi.serial || ''')',
      replace(replace(replace(r.advice, '{serial}', explain_attempt.serial), '{imei}', coalesce(t.imei, '...')), '{imsi}', coalesce(t.imsi, '...'))))
    END
  FROM (SELECT) AS once
  LEFT JOIN terminal AS t ON t.serial = explain_attempt.serial
  LEFT JOIN credential AS c ON c.terminal_id = t.id
  CROSS JOIN LATERAL (SELECT coalesce(login_rank(entry ->> 'login') >= login_rank(t.least_login), false) AS permitted,
    -- Gateways of before say clock-off-by--4000s.
    regexp_match(entry ->> 'reason', '^clock-(ahead|behind|off)-by-(-?[0-9]+s)$') AS clock) AS way
  -- What stood in its way and does so no longer needs no advice, and the old one would be wrong.
  CROSS JOIN LATERAL (SELECT way.permitted, way.clock, CASE
    WHEN way.permitted THEN 'this way in is permitted now'
    WHEN entry ->> 'reason' = 'unknown-serial' AND t.id IS NOT NULL THEN 'it has been provisioned since'
    WHEN entry ->> 'reason' = 'suspended' AND t.status = 'active' THEN 'it has been resumed since'
    WHEN entry ->> 'reason' = 'no-base-key' AND c.base_key IS NOT NULL THEN 'it has been given a base key since'
    WHEN coalesce(entry ->> 'imei', entry ->> 'imsi') IS NOT NULL AND coalesce(entry ->> 'imei', t.imei) = t.imei
      AND coalesce(entry ->> 'imsi', t.imsi) = t.imsi THEN 'it has been bound to these since' END AS settled) AS judged
  LEFT JOIN reason AS gone ON gone.name = 'retired'
  LEFT JOIN reason AS r ON r.name = coalesce(entry ->> 'finding',
    CASE WHEN judged.clock IS NOT NULL THEN 'clock-off' ELSE entry ->> 'reason' END)
  LEFT JOIN terminal AS other_imei ON other_imei.imei = entry ->> 'imei' AND other_imei.status <> 'retired' AND other_imei.id <> t.id
  LEFT JOIN terminal AS other_imsi ON other_imsi.imsi = entry ->> 'imsi' AND other_imsi.status <> 'retired' AND other_imsi.id <> t.id
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
