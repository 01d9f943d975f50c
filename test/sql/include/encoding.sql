\set ECHO none
-- An order, its payer's coupon and a message about it in the encoding of this database,
-- as a client sees it that speaks UTF-8. The same in each.
SET client_encoding = 'UTF8';
\echo == :DBNAME

SELECT pay_shard('é', 'ß') AS shard, pay_shard('Grün', '') AS shard_without_merchant;
SELECT decision, order_no, merchant FROM pay_prepay(order_no => 'é', merchant => 'ß', amount => 100, currency => 'EUR', channel => 'test', method => 'test',
	request_id => 'ä', valid_for => '1 hour', holds => '{coupon:ö#1}');
SELECT decision, order_no FROM pay_prepay(order_no => 'é', merchant => 'ß', amount => 100, currency => 'EUR', channel => 'test', method => 'test', request_id => 'ä');
SELECT pay_shard_of(trade_no) AS shard_of_number, pay_shard(order_no, merchant) = pay_shard_of(trade_no) AS as_of_order FROM pay_query('é', 'ß');
SELECT decision FROM pay_callbacks(jsonb_build_array(jsonb_build_object('channel', 'test', 'callback_id', 'ü', 'reported', 'paid', 'amount', 100, 'currency', 'EUR',
	'trade_no', (SELECT trade_no FROM pay_query('é', 'ß')))));
SELECT message_id FROM pay_event WHERE message_id <> 'ä' AND message_id IS NOT NULL;
SELECT resource, state FROM pay_hold;
SELECT test.try($$SELECT pay_create(order_no => 'é', merchant => 'ß', amount => 200, currency => 'EUR')$$) AS refused;

-- A label with a byte that is no text in UTF-8, as a driver would send it.
CREATE TABLE received (state pay_state);
SELECT test.sqlstate($$COPY received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\5\\377paid\\377\\377"' (FORMAT binary)$$) AS no_text;
SELECT count(*) AS received FROM received;
\set ECHO all
