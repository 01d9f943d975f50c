-- The world: what the shop needs besides pay_idem, and what its processes write down.

SELECT pay_install();

-- Everything in seconds, so that everything comes to an end. One way gives up asking soon.
INSERT INTO pay_channel (channel, method, resubmit_after, timeout, schedule, schedule_held, max_attempts, can_close, can_reverse) VALUES
	('world', 'qr', '2 s', '4 s', '{0.5s,0.5s,1s,1s,2s,2s,3s,3s,3s,3s,3s,3s,3s}', '{0.5s,1s,2s,3s}', 5, true, false),
	('world', 'card', '2 s', '4 s', '{0.5s,0.5s,1s,1s,2s,2s,3s,3s,3s,3s,3s,3s,3s}', '{0.5s,1s,2s,3s}', 5, true, true),
	('world', 'till', '2 s', '4 s', '{0.5s,0.5s,1s,1s,2s,2s,3s,3s,3s,3s,3s,3s,3s}', '{0.5s,1s,2s,3s}', 5, false, true),
	('world', 'slow', '2 s', '2 s', '{0.5s,0.5s,0.5s}', '{0.5s,1s,2s,3s}', 2, true, false);

-- Coupons need no row. Hotel and points are kept by another system.
INSERT INTO pay_resource (resource, capacity, external) VALUES
	('stock', 10, false),
	('hotel', 2, true),
	('points', NULL, true);

CREATE SCHEMA world;

CREATE TABLE world.proceeded (
	trade_no text NOT NULL,
	merchant text NOT NULL,
	order_no text NOT NULL,
	holds text[] NOT NULL,
	PRIMARY KEY (trade_no, holds)
);
COMMENT ON TABLE world.proceeded IS 'attempts that a client was handed, and what he asked to hold: told to proceed, he relies on it';

CREATE TABLE world.delivered (
	merchant text NOT NULL,
	order_no text NOT NULL,
	by text NOT NULL
);
COMMENT ON TABLE world.delivered IS 'parcels that went out: one each time that somebody was told that an order has just been paid';

CREATE TABLE world.claimed (
	worker text NOT NULL,
	lease interval NOT NULL,
	action text NOT NULL,
	pay_no uuid NOT NULL,
	trade_no text,
	refund_no text,
	resource text,
	lease_until timestamptz NOT NULL
);
COMMENT ON TABLE world.claimed IS 'tasks as they were handed out';

DO $$
DECLARE
	kind record;
BEGIN
	FOR kind IN SELECT * FROM (VALUES ('world_shop', 'app'), ('world_worker', 'worker'), ('world_person', 'ops')) AS t (role, kind) LOOP
		IF to_regrole(kind.role) IS NULL THEN
			EXECUTE format('CREATE ROLE %I LOGIN', kind.role);
		END IF;
		PERFORM pay_grant(role => kind.role, kind => kind.kind);
	END LOOP;
END $$;
GRANT USAGE ON SCHEMA world TO world_shop, world_worker, world_person;
GRANT SELECT, INSERT ON world.proceeded TO world_shop;
GRANT INSERT ON world.delivered TO world_shop, world_worker, world_person;
GRANT INSERT ON world.claimed TO world_worker;
