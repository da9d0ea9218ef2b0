-- One terminal, with or without a base key. Safe to run again: the same values are 'unchanged'. Secrets as plain text
-- (a backslash doubled) or \x and hexadecimal digits.
--
--   psql "$(npx m2m db-url)" -f scripts/provisioning/one-terminal.sql \
--     -v serial=T100-1 -v imei=868123000000019 -v imsi=460001234567890 \
--     -v uplink='up secret' -v downlink='down secret' -v base_key='\x0a690452897ab087303e55b92fc768e3'

-- Whatever ~/.psqlrc says.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
\if :{?base_key}
\else
  \set base_key ''
\endif
SELECT m2m.provision_terminal(
  serial => :'serial', imei => :'imei', imsi => :'imsi',
  uplink_password => :'uplink', downlink_password => :'downlink', base_key => nullif(:'base_key', '')::bytea
);
SELECT serial, imei, imsi, status, least_login FROM m2m.terminal_status WHERE serial = :'serial';
