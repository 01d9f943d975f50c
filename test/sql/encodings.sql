-- A database's encoding: the same order has the same shard in each, that of its
-- text in UTF-8. SQL_ASCII does not say what its bytes mean; there they are taken as
-- they are.

SET client_min_messages = warning;
\set here :DBNAME
DROP DATABASE IF EXISTS regress_pay_utf8 WITH (FORCE);
DROP DATABASE IF EXISTS regress_pay_latin1 WITH (FORCE);
DROP DATABASE IF EXISTS regress_pay_sql_ascii WITH (FORCE);
CREATE DATABASE regress_pay_utf8 TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_pay_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_pay_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C';

\c regress_pay_utf8
\i test/sql/include/begin.sql
\i test/sql/include/encoding.sql
-- Not every encoding has these.
SELECT pay_shard('订单一') AS shard, pay_shard('订单一', '商户') AS with_merchant;

\c regress_pay_latin1
\i test/sql/include/begin.sql
\i test/sql/include/encoding.sql
SELECT octet_length(order_no) AS bytes FROM pay_payment;

\c regress_pay_sql_ascii
\i test/sql/include/begin.sql
\i test/sql/include/encoding.sql
SELECT pay_shard('订单一') AS shard, pay_shard('订单一', '商户') AS with_merchant;
-- Bytes that are no UTF-8, as an application would store them that speaks GBK.
SET client_encoding = 'SQL_ASCII';
CREATE TEMP TABLE gbk AS SELECT E'\xB6\xA9\xB5\xA5'::text AS order_no;
SELECT p.decision, encode(p.order_no::bytea, 'hex') AS bytes
FROM gbk, pay_prepay(order_no => gbk.order_no, amount => 100, currency => 'CNY', channel => 'test', method => 'test', request_id => 'R1') AS p;
SELECT pay_shard(order_no) = ('x' || left(encode(sha256('\x1fb6a9b5a5'), 'hex'), 3))::bit(12)::integer AS of_the_bytes FROM gbk;

\c :here
DROP DATABASE regress_pay_utf8;
DROP DATABASE regress_pay_latin1;
DROP DATABASE regress_pay_sql_ascii;
