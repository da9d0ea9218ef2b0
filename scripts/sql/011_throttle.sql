-- works from: 8
--
-- Failed attempts, counted by all processes of all gateways together (docs/protocol.md, "Throttling").

-- Unlogged: a login never waits for it, and after a crash of the server counting begins anew.
CREATE UNLOGGED TABLE m2m.throttle (
  serial text COLLATE "C" NOT NULL CHECK (serial ~ '^[A-Za-z0-9._-]{0,16}$'),
  address inet NOT NULL,
  failures bigint NOT NULL,
  last_failure_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  -- The same rule as in src/platform/flows/throttle.ts.
  delay integer NOT NULL GENERATED ALWAYS AS (CASE
    WHEN serial = '' THEN (failures > 1000)::integer
    WHEN failures >= 10 THEN least(60, 1 << least(failures - 10, 6)::integer)
    ELSE 0 END) STORED,
  PRIMARY KEY (serial, address)
) WITH (fillfactor = 70);
COMMENT ON TABLE m2m.throttle IS
  'Failed attempts of late, by serial and source address, and by address alone where the serial is empty. Written by the gateways; read it as m2m.throttled.';
COMMENT ON COLUMN m2m.throttle.address IS 'Of IPv6 its network of 64 bits: who has one of its addresses has all of them.';
COMMENT ON COLUMN m2m.throttle.delay IS 'Seconds after the last failure in which no frame is judged; 0: frames pass freely.';
-- What the gateways look for every second.
CREATE INDEX throttle_last_failure_at_idx ON m2m.throttle (last_failure_at) WHERE delay > 0;
CREATE INDEX throttle_expires_at_idx ON m2m.throttle (expires_at);
CREATE INDEX throttle_address_idx ON m2m.throttle (address);

ALTER TABLE m2m.change ADD COLUMN address inet;
COMMENT ON COLUMN m2m.change.address IS 'Of lift_throttle, whose terminal_id is 0: from where; NULL: from everywhere.';

CREATE VIEW m2m.throttled AS
SELECT
  nullif(t.serial, '') AS serial,
  t.address,
  t.failures,
  t.last_failure_at + t.delay * interval '1 second' AS until,
  CASE t.serial
    WHEN '' THEN 'more than 1,000 failed attempts within a minute from this address'
    ELSE 'failed attempts of this serial from this address' END AS why
FROM m2m.throttle AS t
WHERE t.delay > 0 AND t.expires_at > now();
COMMENT ON VIEW m2m.throttled IS
  'Who is slowed down for failed attempts now, on all gateways; m2m.lift_throttle ends it. A serial is never slowed down from everywhere.';
COMMENT ON COLUMN m2m.throttled.serial IS 'NULL: all serials from this address.';
COMMENT ON COLUMN m2m.throttled.until IS
  'Frames before it are answered THROTTLED. Once it has passed one frame is judged, and a further failure sets it anew; right credentials end it, as do ten minutes without a failure.';

CREATE FUNCTION m2m.lift_throttle(serial text DEFAULT NULL, address inet DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  lifted bigint;
BEGIN
  PERFORM refuse('serial', 'must not be NULL where address is NULL too: name a serial, an address, or both')
  WHERE serial IS NULL AND address IS NULL;
  PERFORM refuse('serial', check_serial(serial)) WHERE serial IS NOT NULL;
  -- In the order in which gateways write them.
  PERFORM FROM throttle AS t
  WHERE (lift_throttle.serial IS NULL OR t.serial = lift_throttle.serial)
    AND (lift_throttle.address IS NULL OR t.address && lift_throttle.address)
  ORDER BY t.serial, t.address FOR UPDATE;
  DELETE FROM throttle AS t
  WHERE (lift_throttle.serial IS NULL OR t.serial = lift_throttle.serial)
    AND (lift_throttle.address IS NULL OR t.address && lift_throttle.address);
  GET DIAGNOSTICS lifted = ROW_COUNT;
  INSERT INTO change (terminal_id, serial, action, address)
  VALUES (0, coalesce(lift_throttle.serial, ''), 'lift_throttle', network(lift_throttle.address));
  INSERT INTO audit_log (action, serial, what)
  VALUES ('lift_throttle', coalesce(lift_throttle.serial, ''),
    jsonb_build_object('address', lift_throttle.address, 'counts', lifted));
  PERFORM pg_notify('m2m_change', '');
  RETURN CASE WHEN lifted > 0 THEN 'lifted' ELSE 'unchanged' END;
END $$;
COMMENT ON FUNCTION m2m.lift_throttle(text, inet) IS
  'Forgets failed attempts on every gateway within a second: of a serial from everywhere, of an address or network with all serials from there, or of a serial from there only: ''lifted'', or ''unchanged'' where none were written down. Raises where both are NULL.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT EXECUTE ON FUNCTION m2m.lift_throttle TO m2m_operator;
GRANT SELECT ON m2m.throttled TO m2m_operator, m2m_monitor;
GRANT SELECT, INSERT, UPDATE, DELETE ON m2m.throttle TO m2m_gateway;
