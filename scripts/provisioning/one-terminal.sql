-- One terminal. Safe to run again: the same values are 'unchanged'.
--
--   psql "$(npx m2m db-url)" -v ON_ERROR_STOP=1 -f scripts/provisioning/one-terminal.sql \
--     -v serial=T100-1 -v imei=868123000000019 -v imsi=460001234567890 \
--     -v uplink='up secret' -v downlink='down secret' -v base_key='\x0a690452897ab087303e55b92fc768e3'
SELECT m2m.provision_terminal(
  serial => :'serial', imei => :'imei', imsi => :'imsi',
  uplink_password => :'uplink', downlink_password => :'downlink', base_key => :'base_key'
);
SELECT serial, imei, imsi, status, least_login FROM m2m.terminal_status WHERE serial = :'serial';
