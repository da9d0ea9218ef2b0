-- The SIMs of two terminals change places, in the field and here. Both are sent away and log in again.
--
--   psql "$(npx m2m db-url)" -v ON_ERROR_STOP=1 -f scripts/provisioning/swap-sims.sql -v one=T100-1 -v other=T100-2
SELECT m2m.swap_sims(:'one', :'other');
SELECT serial, imei, imsi FROM m2m.terminal_status WHERE serial IN (:'one', :'other') ORDER BY serial;
