-- Takes a terminal out of service for good: its IMEI and IMSI are free for others, its serial stays taken.
--
--   psql "$(npx m2m db-url)" -v ON_ERROR_STOP=1 -f scripts/provisioning/retire.sql -v serial=T100-1
SELECT m2m.retire_terminal(:'serial');
