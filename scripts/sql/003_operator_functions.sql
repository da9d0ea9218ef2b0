-- works from: 3
--
-- What operators call, by hand in psql and from scripts. Each checks every argument first, changes
-- nothing where it refuses, and answers with a short word. All take their locks in the same order:
-- terminal, credential, session; several terminals in order of id.

CREATE FUNCTION m2m.match_provisioned(
  serial text, imei text, imsi text, msisdn text, least_login text, label text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  other text;
BEGIN
  SELECT * INTO known FROM terminal AS t WHERE t.serial = match_provisioned.serial;
  IF known.status = 'retired' THEN
    PERFORM refuse('serial', format('%s is retired, which is for good: it cannot be provisioned again', serial), '23505');
  ELSIF known.id IS NOT NULL THEN
    other := concat_ws(', ',
      CASE WHEN known.imei IS DISTINCT FROM imei THEN 'imei' END,
      CASE WHEN known.imsi IS DISTINCT FROM imsi THEN 'imsi' END,
      CASE WHEN known.msisdn IS DISTINCT FROM msisdn THEN 'msisdn' END,
      CASE WHEN known.least_login IS DISTINCT FROM least_login THEN 'least_login' END,
      CASE WHEN known.label IS DISTINCT FROM label THEN 'label' END);
    IF other = '' THEN
      RETURN 'unchanged';
    END IF;
    PERFORM refuse('serial', format('%s is already provisioned with another %s; rebind_terminal, set_contact '
      'and set_least_login change what it has', serial, other), '23505');
  END IF;
  PERFORM refuse_taken('imei', imei, serial), refuse_taken('imsi', imsi, serial);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION m2m.match_provisioned(text, text, text, text, text, text) IS
  'Internal. ''unchanged'' where that terminal is there with the same values; raises where its serial, IMEI or IMSI is known with others; NULL where none is known.';

CREATE FUNCTION m2m.provision_terminal(
  serial text, imei text, imsi text, uplink_password bytea, downlink_password bytea,
  base_key bytea DEFAULT NULL, msisdn text DEFAULT NULL, least_login text DEFAULT 'md5', label text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  new_id bigint;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('imei', check_imei(imei)), refuse('imsi', check_imsi(imsi));
  PERFORM refuse('uplink_password', check_password(uplink_password));
  PERFORM refuse('downlink_password', check_password(downlink_password));
  PERFORM refuse('base_key', check_base_key(base_key)), refuse('msisdn', check_msisdn(msisdn));
  PERFORM refuse('least_login', check_least_login(least_login)), refuse('label', check_text(label));
  LOOP
    INSERT INTO terminal (serial, imei, imsi, msisdn, label, least_login)
    VALUES (provision_terminal.serial, provision_terminal.imei, provision_terminal.imsi, provision_terminal.msisdn,
            provision_terminal.label, provision_terminal.least_login)
    ON CONFLICT DO NOTHING RETURNING id INTO new_id;
    EXIT WHEN new_id IS NOT NULL;
    IF match_provisioned(serial, imei, imsi, msisdn, least_login, label) = 'unchanged' THEN
      RETURN 'unchanged';
    END IF;
    -- What stood in the way has been given up since: once more.
  END LOOP;
  INSERT INTO credential (terminal_id, uplink_password, downlink_password, base_key)
  VALUES (new_id, plain_secret(provision_terminal.uplink_password), plain_secret(provision_terminal.downlink_password),
          plain_secret(provision_terminal.base_key));
  INSERT INTO session (terminal_id) VALUES (new_id);
  PERFORM touch(new_id, 'terminal-provisioned', NULL, jsonb_build_object('imei', imei, 'imsi', imsi,
    'msisdn', msisdn, 'least_login', least_login, 'label', label, 'base_key', base_key IS NOT NULL));
  RETURN 'provisioned';
END $$;
COMMENT ON FUNCTION m2m.provision_terminal(text, text, text, bytea, bytea, bytea, text, text, text) IS
  'Adds a terminal: ''provisioned''. The same call again is harmless: ''unchanged'', where same means all but the secrets, which are then neither compared nor overwritten. Raises where the serial, the IMEI or the IMSI is known otherwise. Passwords 1 to 64 bytes; base key 16, 24 (WMMP 3.0) or 32; least_login wmmp3, md5, hmac or mutual.';

CREATE FUNCTION m2m.rebind_terminal(serial text, imei text, imsi text, msisdn text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  changed jsonb;
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
    PERFORM refuse_taken('imei', imei, serial), refuse_taken('imsi', imsi, serial);
    PERFORM refuse('imei', 'it or the imsi is just changing hands; try again', '23505');
  END;
  PERFORM touch(known.id, 'rebind_terminal', CASE WHEN changed ?| ARRAY['imei', 'imsi'] THEN 'identity-changed' END, changed);
  RETURN 'rebound';
END $$;
COMMENT ON FUNCTION m2m.rebind_terminal(text, text, text, text) IS
  'Binds a terminal to another module or SIM: ''rebound'', or ''unchanged''. Without msisdn (or with NULL) its phone number is cleared, so that no new secret goes to the old SIM''s holder. Ends its session (DISCONNECT 3) where IMEI or IMSI changes.';

CREATE FUNCTION m2m.swap_sims(serial text, other_serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  one terminal;
  other terminal;
  pair bigint[];
  swapped bigint;
  what_one jsonb;
  what_other jsonb;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('other_serial', check_serial(other_serial));
  PERFORM refuse('other_serial', 'must be another terminal than serial') WHERE serial = other_serial;
  pair := ARRAY(SELECT t.id FROM terminal AS t WHERE t.serial IN (swap_sims.serial, other_serial)
                ORDER BY t.id FOR NO KEY UPDATE);
  one := lock_living_terminal(serial);
  other := lock_living_terminal(other_serial, 'other_serial');
  -- By way of NULL: the unique index looks at every single row.
  UPDATE terminal AS t SET imsi = NULL WHERE t.id = one.id;
  UPDATE terminal AS t SET imsi = one.imsi, msisdn = one.msisdn WHERE t.id = other.id;
  UPDATE terminal AS t SET imsi = other.imsi, msisdn = other.msisdn WHERE t.id = one.id;
  what_one := differences(to_jsonb(one), jsonb_build_object('imsi', other.imsi, 'msisdn', other.msisdn));
  what_other := differences(to_jsonb(other), jsonb_build_object('imsi', one.imsi, 'msisdn', one.msisdn));
  FOREACH swapped IN ARRAY pair LOOP
    PERFORM touch(swapped, 'swap_sims', 'identity-changed', CASE swapped
      WHEN one.id THEN what_one || jsonb_build_object('with', other_serial)
      ELSE what_other || jsonb_build_object('with', serial) END);
  END LOOP;
  RETURN 'swapped';
END $$;
COMMENT ON FUNCTION m2m.swap_sims(text, text) IS
  'IMSI and phone number of two terminals change places: ''swapped''. Ends the sessions of both (DISCONNECT 3).';

CREATE FUNCTION m2m.set_contact(serial text, msisdn text, label text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  changed jsonb;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('msisdn', check_msisdn(msisdn)), refuse('label', check_text(label));
  known := lock_living_terminal(serial);
  changed := differences(to_jsonb(known), jsonb_build_object('msisdn', msisdn, 'label', label));
  IF changed = '{}' THEN
    RETURN 'unchanged';
  END IF;
  UPDATE terminal AS t SET msisdn = set_contact.msisdn, label = set_contact.label WHERE t.id = known.id;
  PERFORM touch(known.id, 'set_contact', NULL, changed);
  RETURN 'changed';
END $$;
COMMENT ON FUNCTION m2m.set_contact(text, text, text) IS
  'Sets phone number and label of a terminal, NULL clears: ''changed'', or ''unchanged''. Its session stands.';

CREATE FUNCTION m2m.set_credentials(
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
  UPDATE credential AS c
  SET uplink_password = coalesce(plain_secret(set_credentials.uplink_password), c.uplink_password),
      downlink_password = coalesce(plain_secret(set_credentials.downlink_password), c.downlink_password),
      base_key = coalesce(plain_secret(set_credentials.base_key), c.base_key),
      changed_at = now()
  WHERE c.terminal_id = known.id;
  PERFORM touch(known.id, 'set_credentials', 'identity-changed', jsonb_build_object('set', given));
  RETURN 'changed';
END $$;
COMMENT ON FUNCTION m2m.set_credentials(text, bytea, bytea, bytea) IS
  'Sets access passwords and base key of a terminal, NULL keeps one: ''changed'' (the values are not compared), or ''unchanged'' where all are NULL. Ends its session (DISCONNECT 3).';

CREATE FUNCTION m2m.drop_base_key(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
BEGIN
  UPDATE credential AS c SET base_key = NULL, changed_at = now() WHERE c.terminal_id = known.id AND c.base_key IS NOT NULL;
  IF NOT FOUND THEN
    RETURN 'unchanged';
  END IF;
  PERFORM touch(known.id, 'drop_base_key', 'identity-changed', '{"dropped": ["base_key"]}');
  RETURN 'dropped';
END $$;
COMMENT ON FUNCTION m2m.drop_base_key(text) IS
  'Takes the base key away from a terminal: ''dropped'', or ''unchanged'' where it has none. Ends its session (DISCONNECT 3). Without a base key it gets no session key and cannot log in both ways.';

CREATE FUNCTION m2m.set_least_login(serial text, least_login text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('least_login', check_least_login(least_login));
  known := lock_living_terminal(serial);
  IF known.least_login = set_least_login.least_login THEN
    RETURN 'unchanged';
  END IF;
  UPDATE terminal AS t SET least_login = set_least_login.least_login WHERE t.id = known.id;
  PERFORM touch(known.id, 'set_least_login', NULL,
    differences(to_jsonb(known), jsonb_build_object('least_login', set_least_login.least_login)));
  RETURN 'changed';
END $$;
COMMENT ON FUNCTION m2m.set_least_login(text, text) IS
  'Sets the weakest way in for a terminal, wmmp3 < md5 < hmac < mutual: ''changed'', or ''unchanged''. Judges logins from then on; its session stands.';

CREATE FUNCTION m2m.set_status(known m2m.terminal, new_status text, reason text, action text, end_reason text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  UPDATE terminal AS t
  SET status = new_status, status_reason = reason,
      status_since = CASE WHEN t.status = new_status THEN t.status_since ELSE now() END
  WHERE t.id = known.id;
  PERFORM touch(known.id, action, end_reason,
    differences(to_jsonb(known), jsonb_build_object('status', new_status, 'status_reason', reason)));
END $$;
COMMENT ON FUNCTION m2m.set_status(m2m.terminal, text, text, text, text) IS
  'Internal. Sets status and reason of a locked terminal.';

CREATE FUNCTION m2m.suspend_terminal(serial text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
BEGIN
  PERFORM refuse('serial', check_serial(serial)), refuse('reason', check_text(reason));
  known := lock_living_terminal(serial);
  IF known.status = 'suspended' AND known.status_reason IS NOT DISTINCT FROM coalesce(reason, known.status_reason) THEN
    RETURN 'unchanged';
  END IF;
  PERFORM set_status(known, 'suspended', reason, 'suspend_terminal', 'suspended');
  RETURN 'suspended';
END $$;
COMMENT ON FUNCTION m2m.suspend_terminal(text, text) IS
  'Locks a terminal out until it is resumed: ''suspended'', or ''unchanged''; on one that is suspended a new reason replaces the old one. Ends its session (DISCONNECT 2).';

CREATE FUNCTION m2m.resume_terminal(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
BEGIN
  IF known.status = 'active' THEN
    RETURN 'unchanged';
  END IF;
  PERFORM set_status(known, 'active', NULL, 'resume_terminal', NULL);
  RETURN 'resumed';
END $$;
COMMENT ON FUNCTION m2m.resume_terminal(text) IS
  'Lets a suspended terminal in again: ''resumed'', or ''unchanged'' where it is active.';

CREATE FUNCTION m2m.retire_terminal(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_terminal(serial);
BEGIN
  IF known.status = 'retired' THEN
    RETURN 'unchanged';
  END IF;
  PERFORM set_status(known, 'retired', NULL, 'retire_terminal', 'suspended');
  RETURN 'retired';
END $$;
COMMENT ON FUNCTION m2m.retire_terminal(text) IS
  'Takes a terminal out of service for good: ''retired'', or ''unchanged''. Frees its IMEI and IMSI for others; its serial still answers SUSPENDED. Ends its session (DISCONNECT 2).';

CREATE FUNCTION m2m.disconnect_terminal(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
  latest session;
BEGIN
  -- By its key alone, and looked at afterwards: so it waits for a login that is just being committed.
  SELECT * INTO latest FROM session AS s WHERE s.terminal_id = known.id FOR NO KEY UPDATE;
  IF latest.session_id IS NULL OR latest.expires_at <= now() THEN
    RETURN 'no session';
  END IF;
  PERFORM touch(known.id, 'disconnect_terminal', 'disconnected');
  RETURN 'disconnected';
END $$;
COMMENT ON FUNCTION m2m.disconnect_terminal(text) IS
  'Ends the session of a terminal (DISCONNECT 5), nothing else: ''disconnected'', or ''no session''. It may log in again at once.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
