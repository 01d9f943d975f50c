/*
 * pay_idem's tables, empty.
 */
SET client_min_messages = warning;
DROP VIEW IF EXISTS pay_balance;
SELECT format('DROP TABLE %s', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\_%' \gexec
SELECT pay_install();
