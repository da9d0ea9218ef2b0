-- Many terminals from a CSV with a header line; all of them, or none.
--
--   psql "$(npx m2m db-url)" -v ON_ERROR_STOP=1 -f scripts/provisioning/import-csv.sql < terminals.csv
--
-- Columns in the order of the \copy line below; secrets as plain text (a backslash doubled) or \x and hexadecimal
-- digits; empty fields are NULL. Each row that comes back is a line that is bad: line 1 is the first behind the
-- header, and nothing was taken. Give import_terminals(false) to take the good lines only.
BEGIN;
\copy m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password, base_key, msisdn, least_login, label) FROM pstdin WITH (FORMAT csv, HEADER)
SELECT * FROM m2m.import_terminals();
COMMIT;
