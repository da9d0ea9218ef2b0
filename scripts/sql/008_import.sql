-- works from: 8
--
-- Provisioning of many terminals at once: \copy into m2m.terminal_import, then import_terminals().

CREATE TABLE m2m.terminal_import (
  line bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  serial text,
  imei text,
  imsi text,
  uplink_password text,
  downlink_password text,
  base_key text,
  msisdn text,
  least_login text,
  label text,
  loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE m2m.terminal_import IS
  'Where \copy puts terminals for import_terminals(): text columns named as the arguments of provision_terminal, secrets as plain text or \x and hexadecimal digits. Emptied by import_terminals(), and by a gateway within a minute.';
COMMENT ON COLUMN m2m.terminal_import.line IS 'Counts from 1 since the table was last empty; not to be written.';

CREATE FUNCTION m2m.number_import() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM terminal_import) THEN
    PERFORM setval(pg_get_serial_sequence('m2m.terminal_import', 'line'), 1, false);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.number_import() IS 'Internal. Lines of an import that begins on an empty table count from 1.';
CREATE TRIGGER terminal_import_number BEFORE INSERT ON m2m.terminal_import
  FOR EACH STATEMENT EXECUTE FUNCTION m2m.number_import();

CREATE FUNCTION m2m.import_secret(value text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  -- What the type's own input takes, without its errors: those would show the secret.
  IF value ~ '^\\x([0-9a-fA-F]{2})*$' OR value ~ '^([^\\]|\\\\|\\[0-3][0-7]{2})*$' THEN
    RETURN value::bytea;
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.import_secret(text) IS 'Internal. A secret as text in the way of bytea; NULL where it is no such text.';

CREATE FUNCTION m2m.check_import_secret(value text, problem text) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT CASE WHEN value IS NOT NULL AND import_secret(value) IS NULL
    THEN 'must be plain text (a backslash doubled), or \x and an even number of hexadecimal digits' ELSE problem END
$$;
COMMENT ON FUNCTION m2m.check_import_secret(text, text) IS 'Internal. What is wrong with a secret of an import, or NULL. Never tells the value.';

CREATE FUNCTION m2m.import_faults() RETURNS TABLE (line bigint, column_name text, reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  -- Whatever this passes is good; the checks below, which cost far more, then say what is wrong with the rest.
  WITH i AS (SELECT * FROM terminal_import), doubtful AS (
    SELECT * FROM i WHERE (
      i.serial ~ '^[A-Za-z0-9._-]{1,16}$'
      AND CASE WHEN i.imei ~ '^[0-9]{15}$' THEN (substr(i.imei, 1, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 2, 1)::integer + substr(i.imei, 3, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 4, 1)::integer + substr(i.imei, 5, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 6, 1)::integer + substr(i.imei, 7, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 8, 1)::integer + substr(i.imei, 9, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 10, 1)::integer + substr(i.imei, 11, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 12, 1)::integer + substr(i.imei, 13, 1)::integer + substr(translate(i.imei, '0123456789', '0246813579'), 14, 1)::integer + substr(i.imei, 15, 1)::integer) % 10 = 0 ELSE false END
      AND i.imsi ~ '^[0-9]{6,15}$'
      AND (i.uplink_password ~ '^[^\\]+$' AND octet_length(i.uplink_password) <= 64 OR i.uplink_password ~ '^\\x([0-9a-fA-F]{2}){1,64}$')
      AND (i.downlink_password ~ '^[^\\]+$' AND octet_length(i.downlink_password) <= 64 OR i.downlink_password ~ '^\\x([0-9a-fA-F]{2}){1,64}$')
      AND (i.base_key IS NULL OR i.base_key ~ '^\\x([0-9a-fA-F]{32}|[0-9a-fA-F]{48}|[0-9a-fA-F]{64})$')
      AND (i.msisdn IS NULL OR i.msisdn ~ '^[+]?[0-9]{5,15}$') AND (i.label IS NULL OR char_length(i.label) <= 200)
      AND coalesce(i.least_login, 'md5') IN ('wmmp3', 'md5', 'hmac', 'mutual')
    ) IS NOT TRUE
  ), wrong AS (
    SELECT i.line, checked.column_name, checked.reason
    FROM doubtful AS i CROSS JOIN LATERAL (VALUES
      ('serial', check_serial(i.serial)),
      ('imei', check_imei(i.imei)),
      ('imsi', check_imsi(i.imsi)),
      ('uplink_password', check_import_secret(i.uplink_password, check_password(import_secret(i.uplink_password)))),
      ('downlink_password', check_import_secret(i.downlink_password, check_password(import_secret(i.downlink_password)))),
      ('base_key', check_import_secret(i.base_key, check_base_key(import_secret(i.base_key)))),
      ('msisdn', check_msisdn(i.msisdn)),
      ('least_login', check_least_login(coalesce(i.least_login, 'md5'))),
      ('label', check_text(i.label))
    ) AS checked (column_name, reason)
    WHERE checked.reason IS NOT NULL
    UNION ALL
    SELECT i.line, 'serial', 'stands in line ' || f.line || ' already'
    FROM (SELECT i.serial, min(i.line) AS line FROM i GROUP BY i.serial HAVING count(*) > 1) AS f
    JOIN i ON i.serial = f.serial AND i.line > f.line
    UNION ALL
    SELECT i.line, 'imei', 'stands in line ' || f.line || ' already'
    FROM (SELECT i.imei, min(i.line) AS line FROM i GROUP BY i.imei HAVING count(*) > 1) AS f
    JOIN i ON i.imei = f.imei AND i.line > f.line
    UNION ALL
    SELECT i.line, 'imsi', 'stands in line ' || f.line || ' already'
    FROM (SELECT i.imsi, min(i.line) AS line FROM i GROUP BY i.imsi HAVING count(*) > 1) AS f
    JOIN i ON i.imsi = f.imsi AND i.line > f.line
    UNION ALL
    SELECT i.line, 'serial', CASE WHEN t.status = 'retired' THEN 'is retired, which is for good: it cannot be provisioned again'
      ELSE 'is already provisioned with another ' || concat_ws(', ',
        CASE WHEN t.imei IS DISTINCT FROM i.imei THEN 'imei' END,
        CASE WHEN t.imsi IS DISTINCT FROM i.imsi THEN 'imsi' END,
        CASE WHEN t.msisdn IS DISTINCT FROM i.msisdn THEN 'msisdn' END,
        CASE WHEN t.least_login IS DISTINCT FROM coalesce(i.least_login, 'md5') THEN 'least_login' END,
        CASE WHEN t.label IS DISTINCT FROM i.label THEN 'label' END) END
    FROM i JOIN terminal AS t ON t.serial = i.serial
    WHERE t.status = 'retired' OR (t.imei, t.imsi) IS DISTINCT FROM (i.imei, i.imsi)
      OR (t.msisdn, t.least_login, t.label) IS DISTINCT FROM (i.msisdn, coalesce(i.least_login, 'md5'), i.label)
    UNION ALL
    SELECT i.line, 'imei', i.imei || ' belongs to terminal ' || t.serial
    FROM i JOIN terminal AS t ON t.imei = i.imei AND t.status <> 'retired' WHERE t.serial IS DISTINCT FROM i.serial
    UNION ALL
    SELECT i.line, 'imsi', i.imsi || ' belongs to terminal ' || t.serial
    FROM i JOIN terminal AS t ON t.imsi = i.imsi AND t.status <> 'retired' WHERE t.serial IS DISTINCT FROM i.serial
  )
  SELECT wrong.line, wrong.column_name, wrong.reason FROM wrong ORDER BY 1, 2
$$;
COMMENT ON FUNCTION m2m.import_faults() IS 'Internal. What is wrong with which lines of m2m.terminal_import.';

CREATE FUNCTION m2m.import_terminals(all_or_nothing boolean DEFAULT true)
RETURNS TABLE (line bigint, column_name text, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  faults bigint;
BEGIN
  PERFORM refuse('all_or_nothing', 'must not be NULL') WHERE all_or_nothing IS NULL;
  -- Nobody adds lines, and no other import runs, between the look and the end; provisioning waits for neither.
  LOCK TABLE terminal_import IN EXCLUSIVE MODE;
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
COMMENT ON FUNCTION m2m.import_terminals(boolean) IS
  'Provisions what stands in m2m.terminal_import and empties it. Returns a row for each thing that is wrong: line 1 is the first since the table was last empty. all_or_nothing: nothing is taken where a line is bad (which is no error); otherwise the good lines are. A line for a terminal that is there with the same values is good and changes nothing; its secrets are neither compared nor overwritten.';

CREATE FUNCTION m2m.import_good() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  WITH good AS (
    SELECT i.* FROM terminal_import AS i
    WHERE NOT EXISTS (SELECT FROM import_fault AS f WHERE f.line = i.line)
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
COMMENT ON FUNCTION m2m.import_good() IS 'Internal. Provisions the lines of an import that have no fault.';

CREATE FUNCTION m2m.check_sealed(value bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  key bytea := substr(value, 2, 4);
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL';
  ELSIF octet_length(value) < 34 OR get_byte(value, 0) <> 1 THEN
    RETURN 'is not sealed: m2m seal makes such values';
  ELSIF NOT EXISTS (SELECT FROM sealing_key AS k WHERE k.key_id = key) THEN
    RETURN format('is sealed under key %s, which the gateways of this database do not use', encode(key, 'hex'));
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_sealed(bytea) IS 'Internal. What is wrong with a sealed secret, as far as the database can tell, or NULL.';

CREATE FUNCTION m2m.provision_sealed(
  serial text, imei text, imsi text, uplink_password bytea, downlink_password bytea,
  base_key bytea DEFAULT NULL, msisdn text DEFAULT NULL, least_login text DEFAULT 'md5', label text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  answer text;
BEGIN
  PERFORM refuse('uplink_password', check_sealed(uplink_password));
  PERFORM refuse('downlink_password', check_sealed(downlink_password));
  PERFORM refuse('base_key', check_sealed(base_key)) WHERE base_key IS NOT NULL;
  -- With stand-ins that never leave this transaction; what they do not match is provision_terminal's to say.
  answer := provision_terminal(serial, imei, imsi, '\x00', '\x00', CASE WHEN base_key IS NOT NULL THEN
    '\x00000000000000000000000000000000'::bytea END, msisdn, least_login, label);
  IF answer = 'provisioned' THEN
    UPDATE credential AS c
    SET uplink_password = provision_sealed.uplink_password, downlink_password = provision_sealed.downlink_password,
        base_key = provision_sealed.base_key
    FROM terminal AS t WHERE t.id = c.terminal_id AND t.serial = provision_sealed.serial;
  END IF;
  RETURN answer;
END $$;
COMMENT ON FUNCTION m2m.provision_sealed(text, text, text, bytea, bytea, bytea, text, text, text) IS
  'As provision_terminal, with secrets that m2m seal has sealed: plain ones never reach the database or its log.';

CREATE VIEW m2m.failing_terminals AS
SELECT serial, failures, first_failure_at, last_failure_at, last_failure_reason, address
FROM m2m.failure AS f
WHERE last_failure_at > now() - interval '1 hour' AND NOT EXISTS (
  SELECT FROM m2m.terminal AS t JOIN m2m.session AS s ON s.terminal_id = t.id
  WHERE t.serial = f.serial AND s.last_login_at > f.last_failure_at
);
COMMENT ON VIEW m2m.failing_terminals IS
  'Who fails to log in now: failed in the last hour, and has not logged in since.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT INSERT, DELETE ON m2m.terminal_import TO m2m_operator;
GRANT EXECUTE ON FUNCTION m2m.import_terminals, m2m.provision_sealed TO m2m_operator;
GRANT SELECT ON m2m.failing_terminals TO m2m_operator, m2m_monitor;
GRANT SELECT, DELETE ON m2m.terminal_import TO m2m_gateway;
