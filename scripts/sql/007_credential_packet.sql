-- works from: 7
--
-- Credential packets of two-way login, and which keys the running gateways hold.

ALTER TABLE m2m.terminal ADD COLUMN packets_revoked_at bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN m2m.terminal.packets_revoked_at IS 'Unix seconds: packets issued until then are revoked.';

CREATE TABLE m2m.packet (
  number bytea PRIMARY KEY CHECK (octet_length(number) = 8),
  terminal_id bigint NOT NULL REFERENCES m2m.terminal,
  key_id bytea NOT NULL CHECK (octet_length(key_id) = 4),
  issued_at bigint NOT NULL
);
COMMENT ON TABLE m2m.packet IS 'Credential packets that were minted: who has one, and under which packet key. Not the packets.';
COMMENT ON COLUMN m2m.packet.issued_at IS 'Unix seconds.';
CREATE INDEX packet_terminal_idx ON m2m.packet (terminal_id);

ALTER TABLE m2m.instance ADD COLUMN key_ids text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN m2m.instance.key_ids IS
  'Ids of the sealing keys that the process holds: a key is used once all living processes hold it.';

CREATE FUNCTION m2m.note_packet(serial text, number bytea, key_id bytea) RETURNS TABLE (imei text, issued_at bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  issued bigint;
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  PERFORM refuse('number', 'must have 8 bytes') WHERE number IS NULL OR octet_length(number) <> 8;
  PERFORM refuse('key_id', 'must have 4 bytes') WHERE key_id IS NULL OR octet_length(key_id) <> 4;
  known := lock_living_terminal(serial);
  -- After the last revocation, also within its second.
  issued := greatest(floor(extract(epoch FROM now()))::bigint, known.packets_revoked_at + 1);
  INSERT INTO packet (number, terminal_id, key_id, issued_at)
  VALUES (note_packet.number, known.id, note_packet.key_id, issued);
  INSERT INTO audit_log (action, serial, what)
  VALUES ('mint_packet', known.serial, jsonb_build_object('number', encode(number, 'hex'), 'key', encode(key_id, 'hex')));
  RETURN QUERY SELECT known.imei, issued;
END $$;
COMMENT ON FUNCTION m2m.note_packet(text, bytea, bytea) IS
  'For m2m packet mint: notes that a packet is minted for a terminal, and returns what goes into it.';

CREATE FUNCTION m2m.revoke_packet(serial text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  known terminal;
  until bigint := floor(extract(epoch FROM now()));
BEGIN
  PERFORM refuse('serial', check_serial(serial));
  known := lock_living_terminal(serial);
  -- Packets of the current second may have been minted before this, or have been moved ahead by an earlier one.
  SELECT greatest(until, max(p.issued_at)) INTO until FROM packet AS p WHERE p.terminal_id = known.id;
  IF known.packets_revoked_at >= until THEN
    RETURN 'unchanged';
  END IF;
  UPDATE terminal AS t SET packets_revoked_at = until WHERE t.id = known.id;
  PERFORM touch(known.id, 'revoke_packet', NULL, jsonb_build_object('issued_until', to_timestamp(until)));
  RETURN 'revoked';
END $$;
COMMENT ON FUNCTION m2m.revoke_packet(text) IS
  'Makes all credential packets of a terminal that were issued until now worthless: ''revoked'', or ''unchanged'' where that is so already. m2m packet mint makes a new one. Its session stands.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
GRANT EXECUTE ON FUNCTION m2m.note_packet, m2m.revoke_packet TO m2m_operator;
GRANT SELECT ON m2m.packet TO m2m_gateway;
