-- Many terminals from a CSV with a header line; all of them, or none.
--
--   psql "$(npx m2m db-url)" -f scripts/provisioning/import-csv.sql < terminals.csv
--
-- The first line is passed over, whatever it holds. Columns in the order of the \copy line below; text in the encoding
-- that psql has (UTF-8 where nobody has set PGCLIENTENCODING); secrets as plain text (a backslash doubled) or \x and
-- hexadecimal digits; empty fields are NULL. Each row that comes back is a line that is bad: line 1 is the first behind
-- the header. Then nothing was taken, and psql ends with exit status 3. With -v all_or_nothing=false the good lines are
-- taken all the same. A file without a line behind the header ends with 3, too: whatever made it has failed.
\set ON_ERROR_STOP on
\set VERBOSITY terse
\if :{?all_or_nothing}
\else
  \set all_or_nothing true
\endif
-- Whatever default the session has: an import may have to look again at what others have provisioned meanwhile.
BEGIN ISOLATION LEVEL READ COMMITTED;
\copy m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password, base_key, msisdn, least_login, label) FROM pstdin WITH (FORMAT csv, HEADER)
SELECT :ROW_COUNT = 0 AS nothing \gset
\if :nothing
  DO $$ BEGIN RAISE EXCEPTION 'there is no terminal in the file: nothing was taken'; END $$;
\endif
SELECT * FROM m2m.import_terminals(:all_or_nothing);
SELECT :ROW_COUNT > 0 AS bad, NOT :all_or_nothing AS some \gset
\if :bad
  \if :some
    COMMIT;
    DO $$ BEGIN RAISE EXCEPTION 'the lines above are bad and were not taken; all others were'; END $$;
  \endif
  DO $$ BEGIN RAISE EXCEPTION 'the lines above are bad; nothing was taken'; END $$;
\endif
COMMIT;
