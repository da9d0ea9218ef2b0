-- works from: 8
--
-- What scripts of others stumbled over: sessions with settings of their own, and two imports at once.

-- A body is read by the settings of the session that calls it. With a backslash as an escape, as sessions of older
-- drivers have it, '\x00' is a byte that no text may hold, and patterns are other ones.
ALTER FUNCTION m2m.plain_secret(bytea) SET standard_conforming_strings = on;
ALTER FUNCTION m2m.import_secret(text) SET standard_conforming_strings = on;
ALTER FUNCTION m2m.check_import_secret(text, text) SET standard_conforming_strings = on;
ALTER FUNCTION m2m.import_faults() SET standard_conforming_strings = on;
ALTER FUNCTION m2m.import_good() SET standard_conforming_strings = on;
ALTER FUNCTION m2m.provision_sealed(text, text, text, bytea, bytea, bytea, text, text, text) SET standard_conforming_strings = on;

-- Three dots, since Latin-1 has no ellipsis: a client of that encoding would get an error in place of the advice.
UPDATE m2m.reason SET advice = replace(advice, '…', '...');

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
    'm2m.set_credentials(%L, base_key => ...), then mint its packet', known.serial, known.serial))
  FROM credential AS c WHERE c.terminal_id = known.id AND c.base_key IS NULL;
  -- After the last revocation, also within its second.
  issued := greatest(floor(extract(epoch FROM now()))::bigint, known.packets_revoked_at + 1);
  INSERT INTO packet (number, terminal_id, key_id, issued_at)
  VALUES (note_packet.number, known.id, note_packet.key_id, issued);
  INSERT INTO audit_log (action, serial, what)
  VALUES ('mint_packet', known.serial, jsonb_build_object('number', encode(number, 'hex'), 'key', encode(key_id, 'hex')));
  RETURN QUERY SELECT known.imei, issued;
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
      replace(replace(replace(r.advice, '{serial}', explain_attempt.serial), '{imei}', coalesce(t.imei, '...')), '{imsi}', coalesce(t.imsi, '...')))
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

CREATE OR REPLACE FUNCTION m2m.number_import() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  -- One loads at a time, until its transaction ends: two would count from 1 both.
  LOCK TABLE terminal_import IN SHARE UPDATE EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM terminal_import) THEN
    PERFORM setval(pg_get_serial_sequence('m2m.terminal_import', 'line'), 1, false);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.number_import() IS
  'Internal. Lines of an import that begins on an empty table count from 1; who loads lines waits for others who do.';

CREATE OR REPLACE FUNCTION m2m.import_terminals(all_or_nothing boolean DEFAULT true)
RETURNS TABLE (line bigint, column_name text, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  faults bigint;
BEGIN
  PERFORM refuse('all_or_nothing', 'must not be NULL') WHERE all_or_nothing IS NULL;
  -- As number_import() does: nobody adds lines, and no other import runs, between the look and the end. A stronger
  -- lock would wait crosswise with whoever waits in that trigger.
  LOCK TABLE terminal_import IN SHARE UPDATE EXCLUSIVE MODE;
  -- What was just loaded has no statistics, and 100,000 lines joined line by line take for ever.
  ANALYZE terminal_import;
  CREATE TEMPORARY TABLE import_fault ON COMMIT DROP AS SELECT * FROM import_faults();
  ANALYZE import_fault;
  SELECT count(*) INTO faults FROM import_fault;
  IF faults = 0 OR NOT all_or_nothing THEN
    PERFORM import_good();
  END IF;
  DELETE FROM terminal_import;
  RETURN QUERY SELECT f.line, f.column_name, f.reason FROM import_fault AS f ORDER BY 1, 2;
  DROP TABLE import_fault;
END $$;
COMMENT ON TABLE m2m.terminal_import IS
  'Where \copy puts terminals for import_terminals(): text columns named as the arguments of provision_terminal, secrets as plain text or \x and hexadecimal digits. Emptied by import_terminals(), and by a gateway within a minute. One transaction loads at a time, the next one waits.';

-- To pass over lines that an import has under way; the gateway writes nothing there.
GRANT UPDATE (loaded_at) ON m2m.terminal_import TO m2m_gateway;
