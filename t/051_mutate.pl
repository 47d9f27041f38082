# Real records of all sorts, mutated, with correct checksums.
#
# Whatever a mutation leads to, the server keeps running, the session gets a page
# or an error that is documented, and no memory is leaked.  If a mutation changes
# nothing that redo uses, the page is the right one.
#
# MUTATE_REQUESTS is how many requests there are in all, 100,000 if it is not
# set; one in 100 reads a directory of segments, with a mutated record in it.
#
# Seen to fail: the first records of a child, and mutations that must make no
# difference, with a child that had no free space map page for a heap block that
# is not the target; the latter also with a byte of the page changed for every
# other record; the errors with an error about page changes raised as an internal
# error; memory with 100 bytes leaked in each replay.

use strict;
use warnings;

use Config;
use File::Spec;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $requests = $ENV{MUTATE_REQUESTS} || 100_000;
my $dir = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
chomp(my $include = `pg_config --includedir-server`);

command_ok(
	[
		$ENV{CC} || 'cc', '-Wall', '-O2', '-fPIC', '-shared', '-D_GNU_SOURCE',
		"-I$include", "-I$FindBin::RealBin/../src", '-o', "$dir/mutate.so",
		"$FindBin::RealBin/../test/mutate.c"
	],
	'build the module that mutates');

my $node = PostgreSQL::Test::Cluster->new('mutate');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 1GB
max_prepared_transactions = 5
track_commit_timestamp = on
walredo.timeout = 2s
log_min_error_statement = panic
CONF
$node->start;

$node->safe_psql('postgres', qq{
	CREATE EXTENSION walredo;
	CREATE FUNCTION mutate(bytea, int, int) RETURNS bytea
		AS '$dir/mutate.so' LANGUAGE C STRICT;
	CREATE FUNCTION write_file(text, bytea) RETURNS void
		AS '$dir/mutate.so' LANGUAGE C STRICT;
});

# A workload with records of all resource managers that change pages.  The
# checkpoint before it makes the first change of each page a full-page image, so
# that WAL has everything that base images can be made of.
$node->safe_psql('postgres', q{
	CREATE TABLE heap (id int, t text, p point, a int[]) WITH (fillfactor = 70);
	CREATE INDEX heap_btree ON heap (id);
	CREATE INDEX heap_hash ON heap USING hash (id);
	CREATE INDEX heap_gist ON heap USING gist (p);
	CREATE INDEX heap_spgist ON heap USING spgist (t);
	CREATE INDEX heap_gin ON heap USING gin (a);
	CREATE INDEX heap_brin ON heap USING brin (id) WITH (pages_per_range = 1);
	INSERT INTO heap SELECT i, repeat(md5(i::text), i % 5), point(i, -i),
		ARRAY[i, i % 10] FROM generate_series(1, 500) i;
	CHECKPOINT;
	CREATE TABLE range (start_lsn pg_lsn, end_lsn pg_lsn);
	INSERT INTO range VALUES (pg_current_wal_insert_lsn());
	INSERT INTO heap SELECT i, repeat(md5(i::text), i % 5), point(i, -i),
		ARRAY[i, i % 10] FROM generate_series(501, 1500) i;
	CREATE SEQUENCE seq;
	SELECT nextval('seq');
});
$node->safe_psql('postgres', 'VACUUM (FREEZE) heap');
$node->safe_psql('postgres', q{
	UPDATE heap SET t = 'x' WHERE id % 5 = 0;
	DELETE FROM heap WHERE id % 3 = 0;
	BEGIN;
	SELECT count(*) FROM (SELECT FROM heap WHERE id < 50 FOR KEY SHARE) k;
	SAVEPOINT one;
	UPDATE heap SET t = 'y' WHERE id < 50;
	SAVEPOINT two;
	CREATE TABLE dropped (i int);
	ROLLBACK TO two;
	COMMIT;
	BEGIN;
	INSERT INTO heap VALUES (0);
	PREPARE TRANSACTION 'one';
	COMMIT PREPARED 'one';
	BEGIN;
	INSERT INTO heap VALUES (0);
	PREPARE TRANSACTION 'two';
	ROLLBACK PREPARED 'two';
});
$node->safe_psql('postgres', 'VACUUM heap');
$node->safe_psql('postgres', 'DELETE FROM heap WHERE id > 300');
$node->safe_psql('postgres', 'VACUUM heap');
$node->safe_psql('postgres', 'VACUUM FULL pg_class');

# Up to eight requests for each sort of record and page, with the page as it
# was before the record, and what the record as it is makes of it.
$node->safe_psql('postgres', q{
	UPDATE range SET end_lsn = pg_current_wal_insert_lsn();
	CREATE TABLE request AS
	SELECT row_number() OVER () AS id, d.*
	FROM (SELECT w.start_lsn, w.end_lsn, w.resource_manager, w.record_type,
				w.rec, d.tag, d.record,
				row_number() OVER (PARTITION BY w.resource_manager,
					w.record_type, translate(d.tag::text, '0123456789', '')
					ORDER BY hashtext(w.start_lsn::text)) AS nth
			FROM range, walredo_wal_records(range.start_lsn, range.end_lsn) w,
				walredo_decode(w.end_lsn, w.rec) d) d
	WHERE nth <= 8;
	ALTER TABLE request ADD base bytea, ADD page bytea;

	DO $$
	DECLARE
		r record;
		b bytea;
		s pg_lsn := (SELECT start_lsn FROM range);
	BEGIN
		FOR r IN SELECT * FROM request LOOP
			b := NULL;
			BEGIN
				b := walredo_page_at(r.tag, r.start_lsn);
			EXCEPTION WHEN OTHERS THEN
				-- Either the record initializes the page, or there is no base image.
				IF r.tag::text LIKE 'slru%' THEN
					b := decode(repeat('00', 8192), 'hex');
				END IF;
			END;
			BEGIN
				UPDATE request SET base = b,
					page = walredo_apply(r.tag, b,
						ARRAY[walredo_postgres(r.end_lsn, r.rec)])
				WHERE id = r.id;
			EXCEPTION WHEN OTHERS THEN
				RAISE LOG '% % %: %', r.resource_manager, r.record_type,
					r.tag, SQLERRM;
			END;
		END LOOP;
	END $$;
	DELETE FROM request WHERE page IS NULL;
});
my $sorts = $node->safe_psql('postgres',
	'SELECT DISTINCT resource_manager FROM request ORDER BY 1');
is( $sorts,
	join("\n",
		qw(BRIN Btree Gin Gist Hash Heap Heap2 MultiXact RelMap SPGist
		  Sequence Storage Transaction XLOG)),
	'records of all sorts');

# Each sort of record is the first that a child replays, so that it cannot depend
# on pages that other records have left in the child's buffers.
my @first = split /\n/, $node->safe_psql('postgres', q{
	SELECT DISTINCT ON (resource_manager, record_type,
		translate(tag::text, '0123456789', '')) id FROM request ORDER BY
		resource_manager, record_type,
		translate(tag::text, '0123456789', ''), random()});
my ($stdout, $stderr);
$node->psql(
	'postgres',
	join(
		'',
		map {
			"\\c -\nSELECT resource_manager, record_type, tag FROM request
			WHERE id = $_ AND page <> walredo_apply(tag, base,
			ARRAY[walredo_postgres(end_lsn, rec)]);\n"
		} @first),
	stdout => \$stdout,
	stderr => \$stderr,
	on_error_stop => 0);
is($stdout . $stderr, '', 'each sort of record as the first of a child');

# Mutations that are not found by the checks fail in redo, and each of them ends a
# child.  To start another one takes much longer than anything else here, so most
# requests are with mutations that the checks find, or that leave the record
# intact.  Kinds are those of test/mutate.c.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE numbered AS
		SELECT row_number() OVER (ORDER BY id) - 1 AS n, request.* FROM request;
	ALTER TABLE numbered ADD PRIMARY KEY (n);
	CREATE TABLE segment AS
		SELECT name, pg_read_binary_file('pg_wal/' || name) AS contents
		FROM (SELECT DISTINCT pg_walfile_name(start_lsn) AS name
			FROM numbered) s;
	CREATE TABLE in_segment AS
		SELECT row_number() OVER () - 1 AS n, p.*
		FROM (SELECT request.*,
				pg_walfile_name(start_lsn) AS name,
				(pg_walfile_name_offset(start_lsn)).file_offset AS at
			FROM request) p
		WHERE at % 8192 + length(rec) <= 8192;
	ALTER TABLE in_segment ADD PRIMARY KEY (n);
	CREATE UNLOGGED TABLE outcome (kind int, what text, code text, n int);
	VACUUM ANALYZE;

	-- Makes requests first to last and puts what came of them into outcome.
	CREATE FUNCTION fuzz(first int, last int) RETURNS void
	LANGUAGE plpgsql AS $$
	DECLARE
		total int := (SELECT count(*) FROM numbered);
		r numbered;
		pick int;
		broken bytea;
		answer bytea;
		kind int;
		what text;
		code text;
		detail text;
	BEGIN
		PERFORM setseed(first / 1e9);
		FOR i IN first .. last LOOP
			pick := floor(random() * total);
			SELECT * INTO STRICT r FROM numbered WHERE n = pick;
			code := 'page';
			what := 'apply';
			kind := floor(random() * 5);
			IF random() < 0.4 THEN
				what := 'decode';
				kind := floor(random() * 10);
			ELSIF random() < 0.15 THEN
				kind := 5 + kind;
			END IF;
			broken := mutate(r.rec, i, kind);
			BEGIN
				IF what = 'decode' THEN
					PERFORM tag::text, record::text, _walredo_record_send(record)
						FROM walredo_decode(r.end_lsn, broken);
					IF kind = 0 AND NOT EXISTS (
							SELECT FROM walredo_decode(r.end_lsn, broken) d
							WHERE d.tag = r.tag) THEN
						code := 'WRONG';
					END IF;
				ELSE
					answer := walredo_apply(r.tag, r.base,
						ARRAY[walredo_postgres(r.end_lsn, broken)]);
					IF length(answer) <> 8192 AND
						r.tag::text !~ '^(relmap|twophase)' THEN
						code := 'LENGTH';
					ELSIF kind = 0 AND answer <> r.page THEN
						code := 'WRONG';
					END IF;
				END IF;
			EXCEPTION WHEN OTHERS OR query_canceled THEN
				code := SQLSTATE;
				IF kind = 0 THEN
					GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
					RAISE LOG 'record % was not mutated: % (%)', r.n, SQLERRM, detail;
				END IF;
			END;
			INSERT INTO outcome VALUES (kind, what, code, r.n);
		END LOOP;
	END $$;

	-- The same for segments with a mutated record in them.  Those of earlier
	-- requests stay.
	CREATE FUNCTION fuzz_segments(dir text, first int, last int) RETURNS void
	LANGUAGE plpgsql AS $$
	DECLARE
		total int := (SELECT count(*) FROM in_segment);
		r in_segment;
		h record;
		pick int;
		kind int;
		code text;
	BEGIN
		PERFORM setseed(first / 1e9);
		FOR i IN first .. last LOOP
			pick := floor(random() * total);
			kind := (ARRAY[0, 1, 2, 5, 6, 7, 8, 9])[1 + floor(random() * 8)];
			SELECT * INTO STRICT r FROM in_segment WHERE n = pick;
			PERFORM write_file(dir || '/' || r.name,
				overlay(contents PLACING mutate(r.rec, i, kind) FROM r.at + 1))
				FROM segment WHERE name = r.name;
			code := 'page';
			BEGIN
				FOR h IN SELECT description, page
					FROM walredo_page_history(r.tag, r.start_lsn,
						r.end_lsn + 500, dir)
				LOOP
					IF length(h.page) <> 8192 AND
						r.tag::text !~ '^(relmap|twophase)' THEN
						code := 'LENGTH';
					END IF;
				END LOOP;
			EXCEPTION WHEN OTHERS OR query_canceled THEN
				code := SQLSTATE;
			END;
			INSERT INTO outcome VALUES (kind, 'history', code, r.n);
		END LOOP;
	END $$;

	-- Bytes that this backend has, as its allocator and as the kernel say.
	CREATE TABLE memory (at text, used int8, resident int8);
	CREATE FUNCTION note_memory(at text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO memory
		SELECT at, (SELECT sum(used_bytes) FROM pg_backend_memory_contexts),
			substring(pg_read_file('/proc/' || pg_backend_pid() || '/status')
				FROM 'RssAnon:\s+(\d+)')::int8 * 1024;
	$$;
});

# All error codes that README.md lists for requests, except for the one about
# privileges.
my $documented =
  "'22023', '22P02', '22P03', '54000', '55000', '57014', '58030', '58P01', 'XX001'";
my $postmaster = slurp_file($node->data_dir . '/postmaster.pid') =~ s/\n.*//sr;

foreach my $preload ('', 'walredo')
{
	my $pool = $preload eq '' ? 'private pool' : 'shared pool';
	my $count = int($requests / 2);
	my $segments = int($count / 100);
	my $half = int(($count - $segments) / 2);

	if ($preload ne '')
	{
		$node->append_conf('postgresql.conf',
			"shared_preload_libraries = 'walredo'");
		$node->restart;
	}
	$postmaster = slurp_file($node->data_dir . '/postmaster.pid') =~ s/\n.*//sr;
	my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
	my $log_from = -s $node->logfile;
	my $seed = $preload eq '' ? 1 : 1_000_000;
	my $time = time();

	mkdir "$dir/wal";
	my $stat = $node->safe_psql(
		'postgres', qq{
		SET client_min_messages = error;
		TRUNCATE outcome, memory;
		SELECT fuzz($seed, $seed + $half - 1);
		SELECT fuzz_segments('$dir/wal', $seed, $seed + $segments - 1);
		SELECT note_memory('half');
		SELECT fuzz($seed + $half, $seed + $count - $segments - 1);
		SELECT note_memory('all');
		SELECT deaths, launches, errors_timeout FROM walredo_stat;
	});
	my ($deaths, $launches, $timeouts) = $stat =~ /^(\d+)\|(\d+)\|(\d+)$/m;
	$time = time() - $time;
	note("$count requests in $time s, $deaths children died, $timeouts timed out");

	is($node->safe_psql('postgres', 'SELECT count(*) FROM outcome'),
		$count, "$pool: every request was answered");
	is( $node->safe_psql(
			'postgres', qq{
			SELECT kind, what, code, count(*), min(n) FROM outcome
			WHERE code NOT IN ('page', $documented)
			GROUP BY 1, 2, 3 ORDER BY 1, 2, 3}),
		'',
		"$pool: only pages and documented errors");
	# Redo of a mutated record may damage the child in such a way that a later
	# request fails, about once in a hundred thousand requests.
	is( $node->safe_psql(
			'postgres', q{
			SELECT code, what, count(*) FROM outcome
			WHERE kind = 0 AND code <> 'page' AND
				NOT (what = 'history' AND code = 'XX001')
			GROUP BY 1, 2
			HAVING code <> '58030' OR count(*) > 2}),
		'',
		"$pool: what redo does not look at makes no difference");
	is( $node->safe_psql(
			'postgres', q{
			SELECT count(DISTINCT kind), bool_or(code = 'page'),
				bool_or(code = '58030'), bool_or(code = 'XX001')
			FROM outcome WHERE what = 'apply'}),
		'10|t|t|t',
		"$pool: all kinds of mutations, and of answers");
	cmp_ok($deaths, '>', $count / 1000, "$pool: children died");
	cmp_ok($launches, '>=', $deaths, "$pool: and were replaced");
	is( $node->safe_psql(
			'postgres', q{
			SELECT b.used - a.used AS used, b.resident - a.resident AS resident
			FROM memory a, memory b
			WHERE a.at = 'half' AND b.at = 'all' AND
				(b.used > a.used + 16 * 1024 OR
				b.resident > a.resident + 2 * 1024 * 1024)}),
		'',
		"$pool: memory of the backend is flat");
	is( slurp_file($node->data_dir . '/postmaster.pid') =~ s/\n.*//sr,
		$postmaster, "$pool: the same server");
	is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
		$started, "$pool: which did not start again");
	my $log = substr(slurp_file($node->logfile), $log_from);
	unlike($log, qr/^.*\((?:PID \d+)\) (?:was terminated|exited)|reinitializing/m,
		"$pool: and lost no process");
	note($node->safe_psql('postgres', 'SELECT * FROM memory'));
	note($node->safe_psql('postgres',
		'SELECT what, kind, code, count(*) FROM outcome GROUP BY 1, 2, 3 ORDER BY 1, 2, 3'
	));
}

$node->stop;
done_testing();
