-- Takes a terminal out of service for good: its IMEI and IMSI are free for others, its serial stays taken.
--
--   psql "$(npx m2m db-url)" -f scripts/provisioning/retire.sql -v serial=T100-1

-- Whatever ~/.psqlrc says.
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
SELECT m2m.retire_terminal(:'serial');
