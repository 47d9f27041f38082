-- What scripts/fleet makes of a list of servers, in a database of the server
-- that watches them.  scripts/fleet prints this file, and after it a call of
-- walredo_fleet._set_servers() with the list.  It is for psql.
--
-- walredo_fleet.damage is a partitioned foreign table with a partition for each
-- server.  But a partition is not a table of that server, because postgres_fdw
-- fails as a whole if one server of hundreds does not answer, connects to one
-- after the other, and from PostgreSQL 16 on does so without a time limit.
-- It is a view of this database, which postgres_fdw reads through a further
-- session here, called a worker: the view calls a function that asks the server,
-- and returns an error as a row.  The server's partitions are dealt out to the
-- workers, and an asynchronous Append has all of them at work at the same time.
--
-- The function uses dblink, and sends queries without waiting for them, as it
-- could not be interrupted otherwise before PostgreSQL 17.  postgres_fdw, instead
-- of dblink, would fail at the end of the transaction if a server had died after
-- it was asked.
--
-- What limits the time for a server is connect_timeout, on PostgreSQL 15, and
-- later a statement_timeout of the worker, until the server is connected to, and
-- after that walredo_fleet.timeout.  The statement_timeout is longer than both, so
-- that it does not come while the function handles an error of theirs.

\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA IF NOT EXISTS walredo_fleet;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE EXTENSION IF NOT EXISTS dblink;
SELECT extnamespace::regnamespace AS dblink
FROM pg_extension WHERE extname = 'dblink' \gset

-- For each server one row with what is known of it, in which columns from
-- "relation" on are NULL, and one for each row of its walredo_damage.
CREATE TABLE IF NOT EXISTS walredo_fleet.damage (
	server text,
	error text,
	version text,
	datname text,
	in_recovery bool,
	system_identifier int8,
	started timestamptz,
	last_check timestamptz,
	last_full_check timestamptz,
	damaged_blocks int8,
	relation text,
	fork text,
	blkno int8,
	found_in text,
	kind text,
	lsn pg_lsn,
	page_lsn pg_lsn,
	detail text,
	first_seen timestamptz,
	last_seen timestamptz,
	seen_lsn pg_lsn,
	repaired_at timestamptz)
	PARTITION BY LIST (server);
COMMENT ON TABLE walredo_fleet.damage IS
	'what each server says of itself, and its walredo_damage; one partition for each';

-- What a query returns on the server that _ask() has connected to: one value.
CREATE OR REPLACE FUNCTION walredo_fleet._query(query text, deadline timestamptz)
RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, :dblink, pg_temp AS $$
DECLARE
	answer jsonb;
BEGIN
	IF dblink_send_query('walredo_fleet', query) <> 1 THEN
		RAISE connection_exception
			USING MESSAGE = dblink_error_message('walredo_fleet');
	END IF;
	WHILE dblink_is_busy('walredo_fleet') = 1 LOOP
		IF clock_timestamp() > deadline THEN
			RAISE query_canceled;
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
	SELECT r.answer INTO answer
	FROM dblink_get_result('walredo_fleet') AS r (answer jsonb);

	-- There is no other result, which must be read, too.
	PERFORM FROM dblink_get_result('walredo_fleet') AS r (answer jsonb);
	RETURN answer;
END $$;

-- Reads the rows of a partition from its server.
CREATE OR REPLACE FUNCTION walredo_fleet._read(name text, deadline timestamptz)
RETURNS walredo_fleet.damage[]
LANGUAGE plpgsql SET search_path = pg_catalog, :dblink, pg_temp AS $$
DECLARE
	about jsonb;		-- the row about the server
	found jsonb;		-- and those of walredo_damage
BEGIN
	PERFORM dblink_connect('walredo_fleet', 'walredo_fleet_' || name);

	-- Nobody there can put functions of his own before the server's.
	PERFORM walredo_fleet._query(format($query$
		SELECT pg_catalog.jsonb_build_array(
			pg_catalog.set_config('search_path', 'pg_catalog', false),
			pg_catalog.set_config('statement_timeout', %L, false))$query$,
		current_setting('walredo_fleet.timeout')), deadline);
	about := walredo_fleet._query($query$
		SELECT to_jsonb(r) FROM (
			SELECT current_database() AS datname,
				pg_is_in_recovery() AS in_recovery, system_identifier,
				pg_postmaster_start_time() AS started,
				extversion AS version, extnamespace::regnamespace AS walredo
			FROM pg_control_system()
				LEFT JOIN pg_extension ON extname = 'walredo') AS r$query$,
		deadline);
	IF about ->> 'version' IS NULL THEN
		RAISE undefined_object
			USING MESSAGE = format('walredo is not installed in database "%s"',
				about ->> 'datname');
	END IF;

	-- The time of the last check is read first: what it has found is there.
	about := about || walredo_fleet._query(format($query$
		SELECT to_jsonb(r) FROM (
			SELECT checked_at AS last_check, full_at AS last_full_check
			FROM pg_database d LEFT JOIN %s._walredo_checked c
				ON c.database = d.oid AND c.relation = 0
			WHERE datname = current_database()) AS r$query$,
		about ->> 'walredo'), deadline);
	found := walredo_fleet._query(format($query$
		SELECT coalesce(jsonb_agg(r), '[]') FROM (
			SELECT relation, fork, blkno, found_in, kind, lsn, page_lsn, detail,
				first_seen, last_seen, seen_lsn, repaired_at
			FROM %s.walredo_damage) AS r$query$,
		about ->> 'walredo'), deadline);
	about := about || jsonb_build_object('damaged_blocks',
		(SELECT count(*) FROM jsonb_array_elements(found) AS e
		 WHERE e ->> 'repaired_at' IS NULL));

	-- No server can speak for another one.
	RETURN (SELECT array_agg(r)
		FROM jsonb_array_elements(about || found) AS e,
			jsonb_populate_record(NULL::walredo_fleet.damage,
				e || jsonb_build_object('server', name)) AS r);
END $$;

-- The same, as a set, and with an error as a row.
CREATE OR REPLACE FUNCTION walredo_fleet._ask(name text)
RETURNS SETOF walredo_fleet.damage
LANGUAGE plpgsql SET search_path = pg_catalog, :dblink, pg_temp AS $$
DECLARE
	timeout text := current_setting('walredo_fleet.timeout');
	answer walredo_fleet.damage[];
	error text;
	detail text;
BEGIN
	BEGIN
		BEGIN
			answer := walredo_fleet._read(name, clock_timestamp() + timeout::interval);
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS error = MESSAGE_TEXT,
				detail = PG_EXCEPTION_DETAIL;
			error := regexp_replace(concat_ws(': ', error, nullif(detail, '')),
				'\s+', ' ', 'g');
		END;
	EXCEPTION WHEN query_canceled THEN
		-- If PostgreSQL 15 could not be interrupted, while it connected to one
		-- address of the server after the other, it notices this now.
		error := coalesce(error, 'the server has not answered within ' || timeout);
	END;
	IF 'walredo_fleet' = ANY (dblink_get_connections()) THEN
		PERFORM dblink_disconnect('walredo_fleet');
	END IF;
	IF error IS NOT NULL THEN
		answer := ARRAY[jsonb_populate_record(NULL::walredo_fleet.damage,
			jsonb_build_object('server', name, 'error', error))];
	END IF;
	RETURN QUERY SELECT * FROM unnest(answer);
END $$;

-- Makes a foreign server or a user mapping have these options.
CREATE OR REPLACE FUNCTION walredo_fleet._set_options(what text, present text[],
	wanted jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	options text;
BEGIN
	SELECT string_agg(CASE
			WHEN w.key IS NULL THEN format('DROP %I', p.option_name)
			WHEN p.option_name IS NULL THEN format('ADD %I %L', w.key, w.value)
			ELSE format('SET %I %L', w.key, w.value) END, ', ')
	INTO options
	FROM jsonb_each_text(wanted) AS w
		FULL JOIN pg_options_to_table(present) AS p ON p.option_name = w.key
	WHERE w.value IS DISTINCT FROM p.option_value;
	IF options IS NOT NULL THEN
		EXECUTE format('ALTER %s OPTIONS (%s)', what, options);
	END IF;
END $$;

-- Makes a foreign server with these options, or makes an existing one have them,
-- with a user mapping for the current user.  Options of the user mapping that
-- were set otherwise, and user mappings of others, are left as they are.
CREATE OR REPLACE FUNCTION walredo_fleet._set_server(name text, wrapper text,
	server_options jsonb, user_options jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	present text[];
BEGIN
	IF NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = name) THEN
		EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER %I', name, wrapper);
	END IF;
	PERFORM walredo_fleet._set_options(format('SERVER %I', name), srvoptions,
		server_options)
	FROM pg_foreign_server WHERE srvname = name;

	EXECUTE format('CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER %I',
		name);
	SELECT umoptions INTO present FROM pg_user_mappings
	WHERE srvname = name AND usename = current_user;
	PERFORM walredo_fleet._set_options(
		format('USER MAPPING FOR CURRENT_USER SERVER %I', name), present,
		(SELECT coalesce(jsonb_object_agg(option_name, option_value), '{}')
		 FROM pg_options_to_table(present)) || user_options);
END $$;

-- Makes the fleet consist of these servers, an array of objects with "name",
-- "server" and "user", the last two of which are objects of options.
CREATE OR REPLACE FUNCTION walredo_fleet._set_servers(servers jsonb,
	workers int, timeout int)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	nworkers int := least(workers, jsonb_array_length(servers));
	names text[] := '{}';		-- of the foreign servers
	entry record;
BEGIN
	-- Neither partitions nor views hold anything.
	FOR entry IN
		SELECT relname, relkind FROM pg_class
		WHERE relnamespace = 'walredo_fleet'::regnamespace
			AND (relkind = 'f' OR relkind = 'v' AND starts_with(relname, 'ask_'))
		ORDER BY relkind
	LOOP
		EXECUTE format('DROP %s walredo_fleet.%I', CASE entry.relkind
			WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'VIEW' END, entry.relname);
	END LOOP;

	FOR i IN 1 .. nworkers LOOP
		names := names || ('walredo_worker_' || i);
		PERFORM walredo_fleet._set_server('walredo_worker_' || i, 'postgres_fdw',
			jsonb_build_object(
				'host', coalesce(nullif(btrim(split_part(
					current_setting('unix_socket_directories'), ',', 1), ' "'), ''),
					'localhost'),
				'port', current_setting('port'),
				'dbname', current_database(),
				'options', format('-c statement_timeout=%ss -c walredo_fleet.timeout=%ss',
					timeout + 2, timeout),
				'async_capable', 'true',
				'keep_connections', 'off'),
			jsonb_build_object('user', current_user));
	END LOOP;
	FOR entry IN
		SELECT e ->> 'name' AS name, e -> 'server' AS server, e -> 'user' AS user, i
		FROM jsonb_array_elements(servers) WITH ORDINALITY AS s (e, i)
	LOOP
		names := names || ('walredo_fleet_' || entry.name);
		PERFORM walredo_fleet._set_server('walredo_fleet_' || entry.name,
			'dblink_fdw', entry.server, entry.user);
		EXECUTE format('CREATE VIEW walredo_fleet.%I AS SELECT * FROM walredo_fleet._ask(%L)',
			'ask_' || entry.name, entry.name);
		EXECUTE format('CREATE FOREIGN TABLE walredo_fleet.%I'
			' PARTITION OF walredo_fleet.damage FOR VALUES IN (%L)'
			' SERVER walredo_worker_%s OPTIONS (schema_name ''walredo_fleet'', table_name %L)',
			'damage_' || entry.name, entry.name, entry.i % nworkers + 1,
			'ask_' || entry.name);
	END LOOP;

	FOR entry IN
		SELECT srvname FROM pg_foreign_server
		WHERE srvname ~ '^walredo_(fleet|worker)_' AND srvname <> ALL (names)
	LOOP
		EXECUTE format('DROP SERVER %I CASCADE', entry.srvname);
	END LOOP;
END $$;

-- What users read.

CREATE OR REPLACE VIEW walredo_fleet.status AS
SELECT server,
	CASE
		WHEN error IS NOT NULL THEN 'unknown'
		WHEN damaged_blocks > 0 THEN 'damaged'
		WHEN last_check IS NULL THEN 'never checked'
		ELSE 'no damage found'
	END AS state,
	error, version, datname, in_recovery, last_check, last_full_check,
	damaged_blocks, nullif(first_value(server) OVER same, server) AS same_as
FROM walredo_fleet.damage
WHERE relation IS NULL
WINDOW same AS (PARTITION BY system_identifier, datname, started,
	CASE WHEN system_identifier IS NULL THEN server END ORDER BY server);
COMMENT ON VIEW walredo_fleet.status IS
	'one row for each server: does it answer, when was it checked, how many of its blocks are damaged';

CREATE OR REPLACE VIEW walredo_fleet.report AS
SELECT server,
	CASE
		WHEN error IS NOT NULL THEN 'unknown'
		WHEN relation IS NOT NULL THEN 'damaged'
		WHEN last_check IS NULL THEN 'never checked'
		ELSE 'no damage found'
	END AS state,
	error, relation, fork, blkno, found_in, kind, detail, first_seen, last_seen
FROM walredo_fleet.damage
WHERE repaired_at IS NULL
	AND (relation IS NOT NULL OR damaged_blocks > 0 IS NOT TRUE);
COMMENT ON VIEW walredo_fleet.report IS
	'damaged blocks of all servers, and one row for each server that has none, or of which they are not known';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA walredo_fleet FROM PUBLIC;
GRANT USAGE ON SCHEMA walredo_fleet TO pg_monitor;
GRANT SELECT ON walredo_fleet.status, walredo_fleet.report TO pg_monitor;
