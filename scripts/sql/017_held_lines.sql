-- works from: 8
--
-- An import holds the lines that it has found good until it has taken them.

CREATE OR REPLACE FUNCTION m2m.import_terminals(all_or_nothing boolean DEFAULT true)
RETURNS TABLE (line bigint, column_name text, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = m2m, pg_temp AS $$
DECLARE
  lines bigint[];
  columns text[];
  reasons text[];
  tries integer := 0;
  index_name text;
  detail text;
BEGIN
  PERFORM refuse('all_or_nothing', 'must not be NULL') WHERE all_or_nothing IS NULL;
  -- As number_import() does: nobody adds lines, and no other import runs, between the look and the end. A stronger
  -- lock would wait crosswise with whoever waits in that trigger.
  LOCK TABLE terminal_import IN SHARE UPDATE EXCLUSIVE MODE;
  -- What was just loaded has no statistics, and 100,000 lines joined line by line take for ever.
  ANALYZE terminal_import;
  -- Lines of a transaction before this one may be deleted by others at any moment: between the look and the end that
  -- would be an import that took nothing, and found nothing wrong. Gateways, which clear up, pass over what is held.
  PERFORM FROM terminal_import AS i WHERE i.loaded_at <> now() FOR UPDATE;
  LOOP
    SELECT array_agg(f.line), array_agg(f.column_name), array_agg(f.reason)
    INTO lines, columns, reasons FROM import_faults() AS f;
    EXIT WHEN lines IS NOT NULL AND all_or_nothing;
    BEGIN
      PERFORM import_good(lines);
      EXIT;
    EXCEPTION WHEN unique_violation THEN
      GET STACKED DIAGNOSTICS index_name = CONSTRAINT_NAME, detail = PG_EXCEPTION_DETAIL;
    END;
    -- Provisioned by others since the look: another one finds what is wrong now, where this transaction can see it.
    tries := tries + 1;
    IF tries = 5 OR current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM refuse_raced(index_name, detail);
    END IF;
  END LOOP;
  DELETE FROM terminal_import;
  RETURN QUERY SELECT * FROM unnest(lines, columns, reasons) AS f ORDER BY 1, 2;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA m2m FROM PUBLIC;
