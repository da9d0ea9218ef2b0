-- works from: 2
--
-- What the operator's functions are made of. Nobody may execute these directly.
--
-- A check returns what is wrong with a value, NULL where it is good, without the argument's name: so
-- that a function can raise it (refuse) and an import can list it by column.

CREATE FUNCTION m2m.refuse(argument text, reason text, code text DEFAULT '22023') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  IF reason IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = refuse.code, MESSAGE = argument || ': ' || reason;
  END IF;
END $$;
COMMENT ON FUNCTION m2m.refuse(text, text, text) IS
  'Internal. Raises "argument: reason"; does nothing where the reason is NULL.';

CREATE FUNCTION m2m.check_serial(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  allowed CONSTANT text := 'it holds 1 to 16 of A-Z a-z 0-9 . _ -';
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL; ' || allowed;
  ELSIF value !~ '^[A-Za-z0-9._-]{1,16}$' THEN
    RETURN format('%s is no serial; %s', quote_literal(left(value, 40)), allowed);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_serial(text) IS 'Internal. What is wrong with a serial number, or NULL.';

CREATE FUNCTION m2m.luhn_digit(digits text) RETURNS integer
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  -- From the right every second digit counts twice, beginning with the last: 8 becomes 16, 1 + 6.
  SELECT ((10 - sum(CASE WHEN place % 2 = 0 THEN digit ELSE digit * 2 / 10 + digit * 2 % 10 END) % 10) % 10)::integer
  FROM (
    SELECT substr(reverse(digits), place, 1)::integer AS digit, place
    FROM generate_series(1, length(digits)) AS place
  ) AS each;
$$;
COMMENT ON FUNCTION m2m.luhn_digit(text) IS 'Internal. The Luhn check digit that belongs behind these digits.';

CREATE FUNCTION m2m.check_imei(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  allowed CONSTANT text := 'it holds 15 digits, the last one a Luhn check digit';
  digit integer;
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL; ' || allowed;
  ELSIF value !~ '^[0-9]{15}$' THEN
    RETURN format('%s is no IMEI; %s', quote_literal(left(value, 40)), allowed);
  END IF;
  digit := luhn_digit(left(value, 14));
  IF right(value, 1) <> digit::text THEN
    RETURN format('check digit of %s is wrong, Luhn says %s', value, digit);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_imei(text) IS 'Internal. What is wrong with an IMEI, or NULL.';

CREATE FUNCTION m2m.check_imsi(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  allowed CONSTANT text := 'it holds 6 to 15 digits';
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL; ' || allowed;
  ELSIF value !~ '^[0-9]{6,15}$' THEN
    RETURN format('%s is no IMSI; %s', quote_literal(left(value, 40)), allowed);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_imsi(text) IS 'Internal. What is wrong with an IMSI, or NULL.';

CREATE FUNCTION m2m.check_msisdn(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  IF value !~ '^[+]?[0-9]{5,15}$' THEN
    RETURN format('%s is no phone number; it holds 5 to 15 digits of the international (E.164) number, '
      'with or without a + before them, or NULL', quote_literal(left(value, 40)));
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_msisdn(text) IS 'Internal. What is wrong with a phone number, or NULL. NULL is no number, and good.';

CREATE FUNCTION m2m.check_text(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  IF char_length(value) > 200 THEN
    RETURN format('has %s characters; it holds up to 200, or NULL', char_length(value));
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_text(text) IS 'Internal. What is wrong with a label or a reason, or NULL. NULL is none, and good.';

CREATE FUNCTION m2m.check_least_login(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  allowed CONSTANT text := 'it holds wmmp3, md5, hmac or mutual';
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL; ' || allowed;
  ELSIF value NOT IN ('wmmp3', 'md5', 'hmac', 'mutual') THEN
    RETURN format('%s is no login; %s', quote_literal(left(value, 40)), allowed);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_least_login(text) IS 'Internal. What is wrong with a least login, or NULL.';

CREATE FUNCTION m2m.check_password(value bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  allowed CONSTANT text := 'it holds 1 to 64';
BEGIN
  IF value IS NULL THEN
    RETURN 'must not be NULL; ' || allowed || ' bytes';
  ELSIF octet_length(value) NOT BETWEEN 1 AND 64 THEN
    RETURN format('has %s bytes; %s', octet_length(value), allowed);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_password(bytea) IS 'Internal. What is wrong with a plain access password, or NULL. Never tells the value.';

CREATE FUNCTION m2m.check_base_key(value bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  IF octet_length(value) NOT IN (16, 24, 32) THEN
    RETURN format('has %s bytes; it holds 16, 24 (WMMP 3.0) or 32, or NULL', octet_length(value));
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.check_base_key(bytea) IS
  'Internal. What is wrong with a plain base key, or NULL. NULL is none, and good. Never tells the value.';

CREATE FUNCTION m2m.plain_secret(value bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  RETURN '\x00'::bytea || value;
END $$;
COMMENT ON FUNCTION m2m.plain_secret(bytea) IS 'Internal. A plain secret as it is stored until a gateway seals it; NULL for NULL.';

CREATE FUNCTION m2m.differences(old jsonb, new jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT coalesce(jsonb_object_agg(key, jsonb_build_object('from', old -> key, 'to', value) ORDER BY key), '{}')
  FROM jsonb_each(new) WHERE old -> key IS DISTINCT FROM value;
$$;
COMMENT ON FUNCTION m2m.differences(jsonb, jsonb) IS
  'Internal. {"name": {"from": old, "to": new}} for each name of new whose value differs from that in old; {} where none does. Not for secrets.';

CREATE FUNCTION m2m.lock_terminal(serial text, argument text DEFAULT 'serial') RETURNS m2m.terminal
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  found_terminal terminal;
BEGIN
  PERFORM refuse(argument, check_serial(lock_terminal.serial));
  SELECT * INTO found_terminal FROM terminal AS t WHERE t.serial = lock_terminal.serial FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM refuse(argument, format('%s is not provisioned', lock_terminal.serial), 'P0002');
  END IF;
  RETURN found_terminal;
END $$;
COMMENT ON FUNCTION m2m.lock_terminal(text, text) IS
  'Internal. The terminal of that serial, locked until the transaction ends; raises where there is none. Order of locks everywhere: terminal, credential, session; several terminals in order of id.';

CREATE FUNCTION m2m.lock_living_terminal(serial text, argument text DEFAULT 'serial') RETURNS m2m.terminal
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  found_terminal terminal := lock_terminal(serial, argument);
BEGIN
  IF found_terminal.status = 'retired' THEN
    PERFORM refuse(argument, format('%s is retired, which is for good: it cannot be changed', found_terminal.serial));
  END IF;
  RETURN found_terminal;
END $$;
COMMENT ON FUNCTION m2m.lock_living_terminal(text, text) IS
  'Internal. As lock_terminal; raises where the terminal is retired.';

CREATE FUNCTION m2m.refuse_taken(argument text, value text, serial text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  holder text;
BEGIN
  -- Two statements, so that each goes by its partial index.
  IF argument = 'imei' THEN
    SELECT t.serial INTO holder FROM terminal AS t WHERE t.imei = value AND t.status <> 'retired';
  ELSE
    SELECT t.serial INTO holder FROM terminal AS t WHERE t.imsi = value AND t.status <> 'retired';
  END IF;
  IF holder <> refuse_taken.serial THEN
    PERFORM refuse(argument, format('%s belongs to terminal %s', value, holder), '23505');
  END IF;
END $$;
COMMENT ON FUNCTION m2m.refuse_taken(text, text, text) IS
  'Internal. Raises where the IMEI or IMSI (argument: imei or imsi) belongs to another terminal than this serial.';

CREATE FUNCTION m2m.touch(
  terminal_id bigint, action text, end_reason text DEFAULT NULL, what jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  touched_serial text;
BEGIN
  IF touch.end_reason IS NULL THEN
    UPDATE session AS s SET revision = s.revision + 1 WHERE s.terminal_id = touch.terminal_id;
  ELSE
    UPDATE session AS s
    SET revision = s.revision + 1, session_id = NULL, session_key = NULL, connected = false,
        ended_at = CASE WHEN s.session_id IS NULL THEN s.ended_at ELSE now() END,
        end_reason = CASE WHEN s.session_id IS NULL THEN s.end_reason ELSE touch.end_reason END
    WHERE s.terminal_id = touch.terminal_id;
  END IF;
  SELECT t.serial INTO STRICT touched_serial FROM terminal AS t WHERE t.id = touch.terminal_id;
  INSERT INTO change (terminal_id, serial, action) VALUES (touch.terminal_id, touched_serial, touch.action);
  INSERT INTO audit_log (action, serial, what) VALUES (touch.action, touched_serial, touch.what);
  -- Equal ones of one transaction are folded into one.
  PERFORM pg_notify('m2m_change', '');
END $$;
COMMENT ON FUNCTION m2m.touch(bigint, text, text, jsonb) IS
  'Internal. Comes last in every change of a terminal: voids logins under way, ends its session where a reason is given, tells the gateways, writes the audit.';

CREATE FUNCTION m2m.keep_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'm2m.audit_log is append-only' USING ERRCODE = '55000',
    HINT = 'To archive old rows, its owner disables trigger audit_log_keep.';
END $$;
COMMENT ON FUNCTION m2m.keep_audit() IS 'Internal. Refuses to change or delete audit rows.';
CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON m2m.audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION m2m.keep_audit();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
