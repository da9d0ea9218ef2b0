-- works from: 1
--
-- The tables. Nobody but the gateway's own role reads them: people use the functions of 003 and the
-- views of 004.

CREATE SCHEMA m2m;
REVOKE ALL ON SCHEMA m2m FROM PUBLIC;
COMMENT ON SCHEMA m2m IS 'The M2M login gateway. Operators use the functions (\df+ m2m.*) and views (\dv+ m2m.*).';

CREATE TABLE m2m.migration (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  works_from integer NOT NULL CHECK (works_from BETWEEN 1 AND version)
);
COMMENT ON TABLE m2m.migration IS 'Which migrations were applied. Written by m2m migrate.';
COMMENT ON COLUMN m2m.migration.works_from IS
  'The oldest schema version whose gateways may still run on this one.';

CREATE TABLE m2m.terminal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  serial text NOT NULL UNIQUE CHECK (serial ~ '^[A-Za-z0-9._-]{1,16}$'),
  imei text NOT NULL CHECK (imei ~ '^[0-9]{15}$'),
  -- NULL only in the middle of swap_sims: a partial unique index cannot be deferred.
  imsi text CHECK (imsi ~ '^[0-9]{6,15}$'),
  msisdn text CHECK (msisdn ~ '^[+]?[0-9]{5,15}$'),
  label text CHECK (char_length(label) <= 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'retired')),
  status_reason text,
  status_since timestamptz NOT NULL DEFAULT now(),
  least_login text NOT NULL DEFAULT 'md5' CHECK (least_login IN ('wmmp3', 'md5', 'hmac', 'mutual')),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE m2m.terminal IS 'Who may come in: one row a terminal, kept for good (a retired serial still answers SUSPENDED).';
-- Retiring frees both for others.
CREATE UNIQUE INDEX terminal_imei_key ON m2m.terminal (imei) WHERE status <> 'retired';
CREATE UNIQUE INDEX terminal_imsi_key ON m2m.terminal (imsi) WHERE status <> 'retired';

-- No CHECK on the secrets here: PostgreSQL prints the whole failing row into its log.
CREATE TABLE m2m.credential (
  terminal_id bigint PRIMARY KEY REFERENCES m2m.terminal,
  uplink_password bytea NOT NULL,
  downlink_password bytea NOT NULL,
  base_key bytea,
  -- Generated, so that no writer can forget it and leave a plain secret unsealed.
  plain boolean NOT NULL GENERATED ALWAYS AS (
    get_byte(uplink_password, 0) = 0
    OR get_byte(downlink_password, 0) = 0
    OR (base_key IS NOT NULL AND get_byte(base_key, 0) = 0)
  ) STORED,
  changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE m2m.credential IS
  'The secrets. Each begins with one byte: 0x00 plain bytes follow (as SQL brought them in), 0x01 a value sealed by the gateway follows.';
COMMENT ON COLUMN m2m.credential.plain IS 'One of the three is plain: a gateway seals it within a second.';
CREATE INDEX credential_plain_idx ON m2m.credential (terminal_id) WHERE plain;

-- One row a terminal from provisioning on: a login is an UPDATE of it, tens of thousands a second. So
-- no index but the primary key, and half of each page free, to keep every such UPDATE heap-only (HOT).
-- revision stands in this row and not in terminal's, so that the row lock makes a login and an
-- operator's change serial: under READ COMMITTED the gateway's UPDATE compares it again after waiting.
CREATE TABLE m2m.session (
  terminal_id bigint PRIMARY KEY REFERENCES m2m.terminal,
  revision integer NOT NULL DEFAULT 1,
  session_id bytea CHECK (octet_length(session_id) = 8),
  login text CHECK (login IN ('wmmp3', 'md5', 'hmac', 'mutual')),
  -- No foreign key: it would lock the instance's row in every login.
  instance bigint,
  address inet,
  connected boolean NOT NULL DEFAULT false,
  started_at timestamptz,
  expires_at timestamptz,
  session_key bytea,
  logins uuid[] NOT NULL DEFAULT '{}',
  requests uuid[] NOT NULL DEFAULT '{}',
  last_login_at timestamptz,
  ended_at timestamptz,
  end_reason text
) WITH (
  fillfactor = 50,
  -- Random bytes do not compress: do not even try, and keep a full replay window in the row.
  toast_tuple_target = 8160,
  -- Pages are pruned by the logins themselves; vacuum comes early and quickly for what is left.
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_cost_limit = 2000,
  -- Rows are found by primary key only: statistics hardly matter.
  autovacuum_analyze_scale_factor = 0.5
);
ALTER TABLE m2m.session
  ALTER COLUMN logins SET STORAGE MAIN,
  ALTER COLUMN requests SET STORAGE MAIN;
COMMENT ON TABLE m2m.session IS 'The one session of each terminal, what it must not replay, and the revision that every login is checked against.';
COMMENT ON COLUMN m2m.session.revision IS 'Bumped by every change of the terminal: a login decided on an older one is not granted.';
COMMENT ON COLUMN m2m.session.session_id IS 'NULL: no session.';
COMMENT ON COLUMN m2m.session.session_key IS 'Sealed.';

CREATE TABLE m2m.instance (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gateway text NOT NULL,
  listen text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE m2m.instance IS 'One row a start of a gateway process; seen_at is its heartbeat.';

CREATE TABLE m2m.change (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at timestamptz NOT NULL DEFAULT now(),
  terminal_id bigint NOT NULL,
  serial text NOT NULL,
  action text NOT NULL,
  instance bigint
);
COMMENT ON TABLE m2m.change IS 'The feed of changes that gateways read. Channel m2m_change tells that there is something new.';
COMMENT ON COLUMN m2m.change.txid IS 'Rows become visible in the order of commits, not of id: readers go by the snapshot.';
COMMENT ON COLUMN m2m.change.instance IS 'For this instance only; NULL: for all of them.';
CREATE INDEX change_txid_idx ON m2m.change (txid);
CREATE INDEX change_at_idx ON m2m.change (at);

CREATE TABLE m2m.failure (
  serial text PRIMARY KEY,
  failures bigint NOT NULL,
  first_failure_at timestamptz NOT NULL,
  last_failure_at timestamptz NOT NULL,
  last_failure_reason text NOT NULL,
  address inet
) WITH (fillfactor = 70);
COMMENT ON TABLE m2m.failure IS 'Who failed to log in, known serial or not. Written by the gateway.';

CREATE TABLE m2m.sealing_key (
  key_id bytea PRIMARY KEY CHECK (octet_length(key_id) = 4),
  check_value bytea NOT NULL,
  added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE m2m.sealing_key IS 'Which keys sealed what is here; check_value tells whether a key file fits, and nothing about the key.';

CREATE TABLE m2m.audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  actor text NOT NULL DEFAULT session_user,
  action text NOT NULL,
  serial text NOT NULL,
  what jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE m2m.audit_log IS 'Who changed what; append-only, never a secret. Read it as m2m.audit.';
CREATE INDEX audit_log_serial_at_idx ON m2m.audit_log (serial, at);
CREATE INDEX audit_log_at_idx ON m2m.audit_log (at);
