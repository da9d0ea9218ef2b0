-- The SIMs of two terminals change places, in the field and here. Both are sent away and log in again.
--
--   psql "$(npx m2m db-url)" -f scripts/provisioning/swap-sims.sql -v one=T100-1 -v other=T100-2

-- Whatever ~/.psqlrc says.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
SELECT m2m.swap_sims(:'one', :'other');
SELECT serial, imei, imsi FROM m2m.terminal_status WHERE serial IN (:'one', :'other') ORDER BY serial;
