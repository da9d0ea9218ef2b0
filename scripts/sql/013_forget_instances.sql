-- works from: 8
--
-- Rows of gateway processes that are gone do not stay for good.

ALTER TABLE m2m.instance ADD COLUMN renews boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN m2m.instance.renews IS
  'Whether the process, back after a long silence, writes its row anew where that is gone. Gateways of before do not: their rows stay longer.';
COMMENT ON TABLE m2m.instance IS
  'One row a start of a gateway process; seen_at is its heartbeat. Rows of those that are gone are deleted by the gateways after a day, unless a session that stands names them.';

GRANT DELETE ON m2m.instance TO m2m_gateway;
