-- works from: 8
--
-- An import into a table that has terminals already.

-- Of lines that are not there yet the planner, which knows the table, expects next to none, and would join 10,000 of them
-- with themselves one by one: 19 s in place of 2, and a hundred times that for 100,000.
ALTER FUNCTION m2m.import_good() SET enable_nestloop = off;
