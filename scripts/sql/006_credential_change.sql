-- works from: 6
--
-- Changes of passwords and base keys: what is wished, what is pending next to the current values, and the
-- texts that carry new values by SMS.

ALTER TABLE m2m.credential
  ADD COLUMN wished_targets integer NOT NULL DEFAULT 0 CHECK (wished_targets BETWEEN 0 AND 7),
  ADD COLUMN last_change_id bigint NOT NULL DEFAULT 0,
  ADD COLUMN change_id bigint,
  ADD COLUMN change_targets integer,
  ADD COLUMN change_settled integer,
  ADD COLUMN change_by_sms boolean,
  ADD COLUMN change_text_at timestamptz,
  ADD COLUMN new_uplink_password bytea,
  ADD COLUMN new_downlink_password bytea,
  ADD COLUMN new_base_key bytea,
  ADD COLUMN confirmed_id bigint,
  ADD COLUMN confirmed_targets integer;
COMMENT ON COLUMN m2m.credential.wished_targets IS 'Bit mask of what the platform wishes to see changed: 1 uplink password, 2 downlink password, 4 base key.';
COMMENT ON COLUMN m2m.credential.last_change_id IS 'The highest CHANGE_ID given out: none is used again.';
COMMENT ON COLUMN m2m.credential.change_id IS 'The pending change; NULL: none.';
COMMENT ON COLUMN m2m.credential.change_settled IS 'Those of change_targets that are current already, proven by a login.';
COMMENT ON COLUMN m2m.credential.change_by_sms IS 'It was sent by SMS at least once: only its confirmation settles it.';
COMMENT ON COLUMN m2m.credential.new_base_key IS 'As the two before it: sealed, all values of the change until the whole of it is settled.';

CREATE TABLE m2m.sms_outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  terminal_id bigint NOT NULL REFERENCES m2m.terminal,
  serial text NOT NULL,
  change_id bigint NOT NULL,
  msisdn text NOT NULL,
  text bytea,
  opened text,
  status text NOT NULL DEFAULT 'waiting'
    CHECK (status IN ('waiting', 'sending', 'sent', 'delivered', 'failed', 'void')),
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  next_try_at timestamptz NOT NULL DEFAULT now(),
  asked_at timestamptz,
  message_id text,
  last_error text
);
COMMENT ON TABLE m2m.sms_outbox IS 'Texts to terminals, written in the transaction that made them. Read it as m2m.sms_outbox_status.';
COMMENT ON COLUMN m2m.sms_outbox.text IS 'Sealed; NULL once it is delivered, given up or void.';
COMMENT ON COLUMN m2m.sms_outbox.opened IS 'The text, opened by a gateway for m2m.take_sms; gone when it is handed out, or when nobody fetches it within five minutes.';
COMMENT ON COLUMN m2m.sms_outbox.status IS 'sending: handed out, and handed out again at next_try_at unless an answer comes; sent: taken by the network; void: overtaken by a change in SQL or by another text.';
COMMENT ON COLUMN m2m.sms_outbox.asked_at IS 'When take_sms asked for it; NULL: it has not, or has handed it out since.';
CREATE INDEX sms_outbox_open_idx ON m2m.sms_outbox (next_try_at) WHERE status IN ('waiting', 'sending');
CREATE INDEX sms_outbox_terminal_idx ON m2m.sms_outbox (terminal_id, id);
CREATE INDEX sms_outbox_message_idx ON m2m.sms_outbox (message_id) WHERE status = 'sent';

CREATE FUNCTION m2m.target_names(targets integer) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  SELECT concat_ws(', ',
    CASE WHEN targets & 1 <> 0 THEN 'uplink' END,
    CASE WHEN targets & 2 <> 0 THEN 'downlink' END,
    CASE WHEN targets & 4 <> 0 THEN 'base_key' END)
$$;
COMMENT ON FUNCTION m2m.target_names(integer) IS 'Internal. The names in a bit mask of targets.';

CREATE FUNCTION m2m.void_texts(terminal_id bigint, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
  -- What the network has may yet be delivered; where it is not, it does not go out again.
  UPDATE sms_outbox AS o
  SET status = CASE o.status WHEN 'sent' THEN 'sent' ELSE 'void' END, text = NULL, opened = NULL,
      last_error = CASE o.status WHEN 'sent' THEN o.last_error ELSE void_texts.reason END
  WHERE o.terminal_id = void_texts.terminal_id AND o.text IS NOT NULL;
  -- Of a change that goes on, the next request is texted at once.
  UPDATE credential AS c SET change_text_at = NULL
  WHERE c.terminal_id = void_texts.terminal_id AND c.change_text_at IS NOT NULL;
$$;
COMMENT ON FUNCTION m2m.void_texts(bigint, text) IS 'Internal. Texts of a terminal that have not been delivered are not sent any more.';

CREATE FUNCTION m2m.void_change(terminal_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  UPDATE credential AS c
  SET change_id = NULL, change_targets = NULL, change_settled = NULL, change_by_sms = NULL, change_text_at = NULL,
      new_uplink_password = NULL, new_downlink_password = NULL, new_base_key = NULL
  WHERE c.terminal_id = void_change.terminal_id AND c.change_id IS NOT NULL;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION m2m.void_change(bigint) IS 'Internal. A pending change is void: its values let nobody in. What a login has settled stays.';

CREATE OR REPLACE FUNCTION m2m.touch(
  terminal_id bigint, action text, end_reason text DEFAULT NULL, what jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  touched_serial text;
BEGIN
  IF touch.end_reason = 'identity-changed' THEN
    PERFORM void_change(touch.terminal_id);
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
COMMENT ON FUNCTION m2m.touch(bigint, text, text, jsonb) IS
  'Internal. Comes last in every change of a terminal: voids logins under way, ends its session where a reason is given, voids a pending change and unsent texts where they no longer hold, tells the gateways, writes the audit.';

COMMENT ON FUNCTION m2m.set_credentials(text, bytea, bytea, bytea) IS
  'Sets access passwords and base key of a terminal, NULL keeps one: ''changed'' (the values are not compared), or ''unchanged'' where all are NULL. Voids a pending change and its unsent texts. Ends its session (DISCONNECT 3).';

CREATE FUNCTION m2m.target_mask(targets text[]) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  target text;
  mask integer := 0;
BEGIN
  PERFORM refuse('targets', 'must name at least one of uplink, downlink, base_key')
  WHERE coalesce(cardinality(targets), 0) = 0;
  FOREACH target IN ARRAY targets LOOP
    PERFORM refuse('targets', format('%L is none of uplink, downlink, base_key', target))
    WHERE target IS NULL OR target NOT IN ('uplink', 'downlink', 'base_key');
    mask := mask | CASE target WHEN 'uplink' THEN 1 WHEN 'downlink' THEN 2 ELSE 4 END;
  END LOOP;
  RETURN mask;
END $$;
COMMENT ON FUNCTION m2m.target_mask(text[]) IS 'Internal. Names of targets to a bit mask; raises where one is none.';

CREATE FUNCTION m2m.request_credential_change(serial text, targets text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  secrets credential;
  mask integer := target_mask(targets);
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  known := lock_living_terminal(serial);
  SELECT * INTO secrets FROM credential AS c WHERE c.terminal_id = known.id FOR NO KEY UPDATE;
  PERFORM refuse('targets', format('%s has no base key: set_credentials gives it one', serial))
  WHERE mask & 4 <> 0 AND secrets.base_key IS NULL;
  IF secrets.wished_targets = mask THEN
    RETURN 'unchanged';
  END IF;
  UPDATE credential AS c SET wished_targets = mask WHERE c.terminal_id = known.id;
  PERFORM touch(known.id, 'request_credential_change', NULL, jsonb_build_object('targets', target_names(mask)));
  RETURN 'requested';
END $$;
COMMENT ON FUNCTION m2m.request_credential_change(text, text[]) IS
  'The platform''s wish for new secrets, targets being any of uplink, downlink, base_key: ''requested'', or ''unchanged'' where just that is wished already. Reaches a terminal that is on line within a second (CREDENTIAL_NOTICE), others in their next login; stands until the terminal has settled it. Another wish replaces it.';

CREATE FUNCTION m2m.cancel_credential_change(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal := lock_living_terminal(serial);
  was_wished boolean;
  was_pending boolean;
BEGIN
  UPDATE credential AS c SET wished_targets = 0 WHERE c.terminal_id = known.id AND c.wished_targets <> 0;
  was_wished := FOUND;
  was_pending := void_change(known.id);
  IF NOT was_wished AND NOT was_pending THEN
    RETURN 'unchanged';
  END IF;
  PERFORM touch(known.id, 'cancel_credential_change', NULL,
    jsonb_build_object('wish', was_wished, 'pending', was_pending));
  RETURN 'cancelled';
END $$;
COMMENT ON FUNCTION m2m.cancel_credential_change(text) IS
  'Takes the wish for new secrets back and voids a change that is pending, with its unsent texts: ''cancelled'', or ''unchanged'' where there is neither. The terminal goes on with what it has; its session stands.';

CREATE FUNCTION m2m.take_sms(most integer DEFAULT 100, lease interval DEFAULT '5 minutes')
RETURNS TABLE (id bigint, serial text, msisdn text, text text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
BEGIN
  PERFORM refuse('most', 'must be 1 to 10000') WHERE most IS NULL OR most NOT BETWEEN 1 AND 10000;
  PERFORM refuse('lease', 'must be longer than nothing and at most a day')
  WHERE lease IS NULL OR lease <= '0' OR lease > '1 day';
  RETURN QUERY
    WITH taken AS (
      SELECT due.id, due.opened FROM sms_outbox AS due
      WHERE due.status IN ('waiting', 'sending') AND due.next_try_at <= now() AND due.opened IS NOT NULL
      ORDER BY due.id LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    ), handed_out AS (
      UPDATE sms_outbox AS o
      SET status = 'sending', attempts = o.attempts + 1, next_try_at = now() + take_sms.lease,
          opened = NULL, asked_at = NULL
      FROM taken WHERE o.id = taken.id
      RETURNING o.id, o.serial, o.msisdn, taken.opened
    )
    SELECT h.id, h.serial, h.msisdn, h.opened FROM handed_out AS h ORDER BY h.id;
  -- Texts are sealed under keys that the database does not have: a gateway opens what was asked for.
  UPDATE sms_outbox AS o SET asked_at = now()
  WHERE o.id IN (
    SELECT due.id FROM sms_outbox AS due
    WHERE due.status IN ('waiting', 'sending') AND due.next_try_at <= now() AND due.opened IS NULL
    ORDER BY due.id LIMIT most FOR NO KEY UPDATE SKIP LOCKED
  );
  IF FOUND THEN
    RAISE NOTICE 'more texts are being opened by a gateway: call again in a second';
  END IF;
END $$;
COMMENT ON FUNCTION m2m.take_sms(integer, interval) IS
  'Hands out texts that wait to be sent (M2M_SMS=outbox), oldest first: send each text to msisdn, then acknowledge_sms(id). One that is not acknowledged within the lease is handed out again. Texts are opened by a running gateway when they are first asked for: poll every second or so.';

CREATE FUNCTION m2m.acknowledge_sms(id bigint, error text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  found_status text;
BEGIN
  PERFORM refuse('error', check_text(error));
  SELECT o.status INTO found_status FROM sms_outbox AS o WHERE o.id = acknowledge_sms.id FOR NO KEY UPDATE;
  PERFORM refuse('id', 'no such text was handed out') WHERE coalesce(found_status, 'waiting') = 'waiting';
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
COMMENT ON FUNCTION m2m.acknowledge_sms(bigint, text) IS
  'Says what became of a text that take_sms handed out: ''delivered'' without error; with one ''waiting'': it is handed out again after 30 s. ''unchanged'' where it is settled already.';

CREATE VIEW m2m.sms_outbox_status AS
SELECT id, serial, status, attempts, created_at, next_try_at, last_error FROM m2m.sms_outbox;
COMMENT ON VIEW m2m.sms_outbox_status IS
  'Texts to terminals: waiting, sending, sent (taken by the network), delivered, failed (given up), void (overtaken). Never what they say.';

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
  END AS pending_change,
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
  SELECT s.session_id, s.instance, s.address WHERE s.session_id IS NOT NULL AND s.expires_at > now()
) AS live ON true
LEFT JOIN m2m.instance AS i ON i.id = live.instance
LEFT JOIN m2m.failure AS f ON f.serial = t.serial;
COMMENT ON COLUMN m2m.terminal_status.pending_change IS
  'NULL: none. wished: the terminal has not asked for it yet. pending: new values are on their way or not confirmed yet.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT SELECT ON m2m.sms_outbox_status TO m2m_operator, m2m_monitor;
GRANT EXECUTE ON FUNCTION m2m.request_credential_change, m2m.cancel_credential_change, m2m.take_sms, m2m.acknowledge_sms
TO m2m_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON m2m.sms_outbox TO m2m_gateway;
