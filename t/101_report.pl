# A page and its history as an HTML document.
#
# What the document says is compared with what pageinspect, walredo_page_history()
# and pg_xact_commit_timestamp() say.  The server's own XML parser reads it, so
# that it is well-formed, and what names and rows contain is seen to be text.
#
# Seen to fail: when '<' was not escaped; when a control character, or one that
# changes the direction of text, was written as it is; when bytes of two tuples
# were those of the second; when tuples that are deleted
# were alive; when the picture before was not what changes were marked against;
# when pictures were thinned and the counts of their records were not added; when
# a page that the server refuses to read was not read from its file; when nothing
# was said about WAL that is missing; with the functions in reach of everybody;
# when the page of now was compared with the end of the range, without WAL since;
# when the dump had the letters of another byte, did not mark what the last
# record has changed, or what is damaged; when bits of pg_xact were taken from the
# other end of a byte; when a range in the future, or one that ends before it
# begins, was taken as empty; when a sequence's page was not drawn as a table's;
# when nothing was said about a page that is drawn as it was before it was
# compared.

use FindBin;
use lib $FindBin::RealBin;

use WalredoSessions;
use WalredoTest;

my $node = wal_server(
	'main',
	extra => [ '--data-checksums', '--encoding=UTF8', '--locale=C' ],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
track_commit_timestamp = on
CONF
$node->start;

plan skip_all => 'the server cannot read XML'
  if !$node->safe_psql('postgres',
	"SELECT count(*) FROM pg_config() WHERE setting ~ 'with-libxml'");

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE report (name text PRIMARY KEY, html text, doc xml);
SQL

# LSNs are compared as walredo writes them.
sub value
{
	return plain_lsns($node->safe_psql('postgres', shift));
}

# Makes a report, with the arguments of walredo_report(), and keeps it.
sub report
{
	my ($name, $arguments) = @_;

	value(<<SQL);
INSERT INTO report SELECT '$name', html, xmlparse(DOCUMENT html)
FROM (SELECT walredo_report($arguments) AS html) r
SQL
	return;
}

# What a path finds in a report, as an array of SQL.
sub path_sql
{
	my ($name, $path) = @_;

	return
	  "(SELECT xpath(\$path\$$path\$path\$, doc, '{{h,http://www.w3.org/1999/xhtml},{s,http://www.w3.org/2000/svg}}') FROM report WHERE name = '$name')";
}

# ... how many there are, and what they are, one a line.
sub count_of
{
	return value('SELECT cardinality(' . path_sql(@_) . ')');
}

sub texts
{
	my $texts = value('SELECT unnest(' . path_sql(@_) . ')');
	my %characters = (lt => '<', gt => '>', amp => '&', quot => '"');

	$texts =~ s/&(lt|gt|amp|quot);/$characters{$1}/g;
	return $texts;
}

# All text of a report, in one line.
sub text_of
{
	my $name = shift;
	my $text = texts($name, 'string(/h:html/h:body)');

	$text =~ s/\s+/ /g;
	return $text;
}

#
# Tables
#

my $start = value('SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE account (id int PRIMARY KEY, owner text);
INSERT INTO account SELECT i, 'owner ' || i FROM generate_series(1, 40) i;
UPDATE account SET owner = 'another' WHERE id % 9 = 0;
DELETE FROM account WHERE id % 7 = 0;
SQL
$node->safe_psql('postgres',
	'SELECT FROM account WHERE id = 5 FOR UPDATE');
$node->safe_psql('postgres',
	"BEGIN; INSERT INTO account VALUES (50, 'nobody'); ROLLBACK");
my $account = "walredo_tag('account', 0)";
report('heap', $account);

my $lp = 's:svg[@id="page"]/s:path[contains(s:title, "line pointer") and starts-with(@class, "k-lp")';
is(count_of('heap', "//$lp]"),
	value("SELECT count(*) FROM heap_page_items(get_raw_page('account', 0))"),
	'line pointers');
is( count_of(
		'heap',
		'//s:svg[@id="page"]/s:path[starts-with(@class, "k-alive") or starts-with(@class, "k-locked")]'
	),
	value('SELECT count(*) FROM account'),
	'tuples that are alive');
is( count_of('heap', '//s:svg[@id="page"]/s:path[starts-with(@class, "k-dead")]'),
	value(
		"SELECT count(*) - (SELECT count(*) FROM account) FROM heap_page_items(get_raw_page('account', 0))"
	),
	'... and dead');
like(texts('heap', '//s:path[starts-with(@class, "k-locked")]/s:title/text()'),
	qr/^tuple 5: tuple, alive and locked/, '... and locked');
is( value(<<SQL),
SELECT string_agg(concat_ws(' ', c[1], c[2], c[3], split_part(c[4], ' ', 1), split_part(c[5], ' ', 1), c[6]), E'\\n' ORDER BY n)
FROM (SELECT n, xpath('/x:tr/*/text()', tr, '{{x,http://www.w3.org/1999/xhtml}}')::text[] FROM unnest(@{[
	path_sql('heap', '//h:table[h:caption="Line pointers and tuples"]/h:tbody/h:tr')
]}) WITH ORDINALITY u (tr, n)) r (n, raw),
	LATERAL (SELECT ARRAY[raw[1], raw[2], raw[3], raw[5], raw[6], raw[7]]) x (c)
SQL
	value(<<'SQL'),
SELECT string_agg(concat_ws(' ', lp, lp_off, lp_len, t_xmin, t_xmax, t_ctid), E'\n' ORDER BY lp)
FROM heap_page_items(get_raw_page('account', 0))
SQL
	'the table of tuples is that of pageinspect');
is( texts(
		'heap',
		'//h:table[h:caption="Fields"]//h:tr[h:th="pd_lsn" or h:th="pd_lower" or h:th="pd_upper"]/h:td[2]/text()'
	),
	value(
		"SELECT unnest(ARRAY[lsn::text, lower::text, upper::text]) FROM page_header(get_raw_page('account', 0))"
	),
	'fields of the header');
like(text_of('heap'), qr/Sound\. The page that the server has now is the one/,
	'the page is sound');

#
# Its history
#

# The history of a page, without the records by which its database was created,
# before its file.
sub history_of
{
	my ($tag, $wal_directory) = @_;
	my $more = defined $wal_directory ? ", '$wal_directory'" : '';

	return
	  "(SELECT * FROM walredo_page_history($tag, '0/0', 'FFFFFFFF/FFFFFFFF'$more) WHERE resource_manager <> 'Database') h";
}

my $history = history_of($account);
my $cards = '//h:ol[@class="cards"]/h:li';

is(count_of('heap', $cards), value("SELECT count(*) FROM $history"),
	'a picture for each record');
is( texts('heap', "$cards/h:h3/text()"),
	value(
		"SELECT format('Record %s, %s', row_number() OVER (ORDER BY lsn), lsn) FROM $history ORDER BY lsn"
	),
	'... with its LSN');
is( texts('heap', "$cards/h:p[\@class='mono']/text()"),
	value(
		"SELECT resource_manager || '/' || record_type FROM $history ORDER BY lsn"
	),
	'... and what it is');
is( texts('heap', "substring-before(substring-after($cards\[2]/h:p[3], ''), '.')"),
	value(<<SQL),
SELECT split_part(pg_xact_commit_timestamp(xmin)::text, '.', 1) FROM account WHERE id = 1
SQL
	'... and when its transaction has committed');
like(text_of('heap'), qr/transaction \d+, aborted/, '... or aborted');
is( value(
		"SELECT string_agg((regexp_match(u::text, 'Changed: (\\d+) bytes'))[1], ' ' ORDER BY n) FROM unnest("
		  . path_sql('heap', "$cards/h:p[starts-with(., 'Changed: ')]/text()")
		  . ') WITH ORDINALITY x (u, n)'),
	value(<<SQL),
SELECT string_agg(n::text, ' ' ORDER BY lsn)
FROM (SELECT lsn, (SELECT sum(length) FROM walredo_page_diff(before, overlay(page PLACING substring(before FOR 10) FROM 1))) AS n
	FROM (SELECT lsn, page, lag(page) OVER (ORDER BY lsn) AS before FROM $history) y
	WHERE before IS NOT NULL) x
WHERE n > 0
SQL
	'... and how many bytes it has changed');
is( count_of('heap', "$cards/s:svg/s:path[\@class='k-change']"),
	count_of('heap', "$cards/h:p[starts-with(., 'Changed: ') and contains(., 'bytes')]"),
	'changes are marked');

#
# Ranges
#

my $middle = value("SELECT lsn FROM $history ORDER BY lsn OFFSET 20 LIMIT 1");
report('range', "$account, '$middle', NULL");
is(count_of('range', $cards),
	value("SELECT count(*) FROM $history WHERE start_lsn >= '$middle'"),
	'records of a range');
like(texts('range', "$cards\[1]/h:p[last()]/text()"),
	qr/^Changed: \d+ bytes/, '... the first after the page before it');
report('early', "$account, '0/0', '$middle'");
is(count_of('early', $cards),
	value("SELECT count(*) FROM $history WHERE lsn <= '$middle'"),
	'... up to an LSN');
like(error_of($node, 'postgres', "SELECT walredo_report($account, NULL, 'F0000000/0')"),
	qr/ERROR:  22023:/, 'an LSN that is not there yet');
like(error_of($node, 'postgres', "SELECT walredo_report($account, 'F0000000/0')"),
	qr/ERROR:  22023: WAL start LSN is in the future/, '... or a start');
like(
	error_of($node, 'postgres', "SELECT walredo_report($account, '$middle', '$middle'::pg_lsn - 8)"),
	qr/ERROR:  22023: WAL start LSN must not be greater than end LSN/,
	'a range that ends before it begins');
is(value('SELECT walredo_report(NULL) IS NULL'), 't', 'no page');

#
# Indexes, and other pages
#

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE many (i int);
CREATE INDEX many_i ON many (i);
INSERT INTO many SELECT i / 4 FROM generate_series(1, 2000) i;
CREATE TABLE doc (w int[]);
CREATE INDEX doc_gin ON doc USING gin (w);
CREATE INDEX doc_hash ON doc USING hash ((w[1]));
CREATE INDEX doc_brin ON doc USING brin ((w[1]));
INSERT INTO doc SELECT ARRAY[i % 7, i % 11] FROM generate_series(1, 200) i;
VACUUM doc;
SQL
foreach my $blkno (1 .. 3)
{
	report("btree $blkno", "walredo_tag('many_i', $blkno)");
	is( count_of("btree $blkno", "//$lp]"),
		value("SELECT count(*) FROM bt_page_items('many_i', $blkno)"),
		"line pointers of block $blkno of a B-tree");
	is( texts(
			"btree $blkno",
			'//h:table[h:caption="Line pointers and tuples"]//h:tr/h:td[4]/text()'
		),
		value("SELECT ctid FROM bt_page_items('many_i', $blkno)"),
		'... and their tuples');
	is( texts(
			"btree $blkno",
			'//h:table[h:caption="Fields"]//h:tr[h:th="btpo_prev" or h:th="btpo_next" or h:th="btpo_level"]/h:td[2]/text()'
		),
		value(
			"SELECT unnest(ARRAY[btpo_prev, btpo_next, btpo_level]) FROM bt_page_stats('many_i', $blkno)"
		),
		'... and special space');
}
is( count_of('btree 1', '//s:svg[@id="page"]/s:path[starts-with(@class, "k-pivot")]'),
	1, 'the high key of a leaf');
is( count_of('btree 3', '//s:svg[@id="page"]/s:path[starts-with(@class, "k-pivot")]'),
	value("SELECT count(*) FROM bt_page_items('many_i', 3)"),
	'... and downlinks of the root');
report('meta', "walredo_tag('many_i', 0)");
is( texts(
		'meta',
		'//h:table[h:caption="Fields"]//h:tr[h:th="btm_root" or h:th="btm_level"]/h:td[2]/text()'
	),
	value("SELECT unnest(ARRAY[root, level]) FROM bt_metap('many_i')"),
	'a metapage');
my %others = (
	'GIN' => "walredo_tag('doc_gin', 1)",
	'GIN meta' => "walredo_tag('doc_gin', 0)",
	'hash' => "walredo_tag('doc_hash', 1)",
	'BRIN' => "walredo_tag('doc_brin', 2)",
	'visibility map' => "walredo_tag('doc', 'vm', 0)",
	'free space map' => "walredo_tag('doc', 'fsm', 0)");
foreach my $name (sort keys %others)
{
	report($name, $others{$name});
	cmp_ok(
		count_of(
			$name,
			'//s:svg[@id="page"]/s:path[starts-with(@class, "k-data") or starts-with(@class, "k-special")]'
		),
		'>', 0,
		"$name is drawn");
}

# The bytes of a report's dump as the server's functions return them, and the
# letters of what they are.
sub dump_of
{
	my ($name) = @_;
	my ($bytes, $letters) = ('', '');
	my $line = '';

	foreach (split /\n/, texts($name, 'string(//h:details[@class="bytes"]/h:pre)'))
	{
		if ($_ eq '*')
		{
			$line = '*';
			next;
		}
		my ($offset, $hex, $of) =
		  /^(\d+)  ((?:[0-9a-f]{2} ){15}[0-9a-f]{2})  .*  (\S{16})$/
		  or die "not a line of a dump: $_";
		while ($line eq '*' && length($letters) < $offset)
		{
			$bytes .= substr($bytes, -32);
			$letters .= substr($letters, -16);
		}
		($line, $hex) = ('', $hex =~ s/ //gr);
		is($offset, length($letters), 'an offset of a dump') if $offset != length($letters);
		$bytes .= $hex;
		$letters .= $of;
	}
	while (length($letters) < $page_size)
	{
		$bytes .= substr($bytes, -32);
		$letters .= substr($letters, -16);
	}
	return ($bytes, $letters);
}

foreach my $name (sort grep { !/free/ } keys %others)
{
	my ($fork) = $others{$name} =~ /'vm'/ ? 'vm' : 'main';
	my ($relation, $blkno) = $others{$name} =~ /'(\w+)'.* (\d+)\)/;
	my $page = "get_raw_page('$relation', '$fork', $blkno)";
	my ($bytes, $letters) = dump_of($name);
	my ($lower, $upper, $special) = split /\|/,
	  value("SELECT lower, upper, special FROM page_header($page)");

	is($bytes, value("SELECT encode($page, 'hex')"), "all bytes of $name");
	like($letters, qr/^h{24}[^h]+$/, '... and its header');
	like(substr($letters, $special), qr/^s*$/, '... and special space');
	unlike(substr($letters, 0, $special), qr/s/, '... where it begins');
	if ($name =~ /meta|map/)
	{
		like($letters, qr/c/, '... and contents');
	}
	else
	{
		is(substr($letters, 24, $lower - 24), 'p' x ($lower - 24),
			'... and line pointers');
		is(substr($letters, $lower, $upper - $lower),
			'.' x ($upper - $lower), '... and free space');
		like(substr($letters, $upper, $special - $upper), qr/^[IPHl]+$/,
			'... and tuples');
	}
}
is( value(
		"SELECT count(*) FROM unnest("
		  . path_sql('GIN', '//h:pre/h:span[contains(@class, "k-change")]/text()')
		  . ") u, regexp_split_to_table(u::text, ' ')"),
	value(
		"SELECT (regexp_match(u[cardinality(u)]::text, 'Changed: (\\d+) bytes'))[1] FROM "
		  . path_sql('GIN', "$cards/h:p[starts-with(., 'Changed: ')]/text()")
		  . ' x (u)'),
	'bytes that the last record has changed are marked');

$node->safe_psql('postgres', "CREATE SEQUENCE one; SELECT nextval('one')");
report('sequence', "walredo_tag('one', 0)");
is(count_of('sequence', "//s:svg[$_]/s:path[starts-with(\@class, 'k-alive')]"),
	1, 'the tuple of a sequence')
  foreach '@id="page"', '@id="r1"';
report('pg_xact', "'slru pg_xact/0000 blk 0'");
like(text_of('pg_xact'), qr/Not read from the server\. It is no page of a relation/,
	'a page that is not read from the server');
like(text_of('pg_xact'),
	qr/Pictures are missing\. Of (\d+), \1 cannot be made, and say why\./,
	'... and of which WAL has no image');
like(texts('pg_xact', "$cards\[1]/h:p[\@class='none']/text()"),
	qr/^WAL has no image of it/, '... which is said');

#
# Many records
#

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE hot (id int, n int) WITH (fillfactor = 50);
INSERT INTO hot VALUES (1, 0);
DO $$ BEGIN FOR i IN 1 .. 1500 LOOP UPDATE hot SET n = i; COMMIT; END LOOP; END $$;
SQL
report('hot', "walredo_tag('hot', 0)");
my $records = value(
	"SELECT count(*) FROM " . history_of("walredo_tag('hot', 0)")
);
cmp_ok($records, '>', 1500, 'there are many records');
cmp_ok(count_of('hot', $cards), '<=', 96, '... and less pictures');
cmp_ok(count_of('hot', $cards), '>=', 48, '... but not too few');
like(text_of('hot'), qr/Thinned\. There are more records than pictures: a picture stands for (16|32|64) records/,
	'... which is said');
is( value(
		"SELECT sum(m[1]::int) FROM unnest("
		  . path_sql('hot', "$cards/h:p[\@class='mono']/text()")
		  . ") u, regexp_matches(u::text, '\\((\\d+)\\)', 'g') m"),
	$records, '... with counts of all records');
is( value(
		"SELECT split_part(u::text, ', ', 2) FROM unnest("
		  . path_sql('hot', "$cards\[last()]/h:h3/text()")
		  . ') u'),
	value(
		"SELECT max(lsn) FROM " . history_of("walredo_tag('hot', 0)")
	),
	'... to the last');
unlike(text_of('hot'), qr/whose end/, '... and ends of all transactions');

#
# A page of pg_xact
#

$node->safe_psql('postgres', <<'SQL');
DO $$ BEGIN WHILE pg_current_xact_id()::text::int < 32900 LOOP COMMIT; END LOOP; END $$;
DO $$
BEGIN
	FOR i IN 1 .. 40 LOOP
		PERFORM pg_current_xact_id();
		IF i % 10 < 3 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;
SQL
report('xacts', "'slru pg_xact/0000 blk 1'");
my $xacts = 'unnest(' . path_sql('xacts', '//h:table[h:caption="Transactions"]/h:tbody/h:tr')
  . ") WITH ORDINALITY u (tr, n), xpath('/x:tr/*/text()', tr, '{{x,http://www.w3.org/1999/xhtml}}') c";

cmp_ok(value("SELECT count(*) FROM $xacts WHERE c[3]::text = 'aborted'"),
	'>=', 4, 'transactions that have aborted');
is( value(<<SQL),
SELECT count(*) FROM $xacts, generate_series(c[1]::text::bigint, c[2]::text::bigint) xid
WHERE c[3]::text IN ('committed', 'aborted') AND pg_xact_status(xid::text::xid8) IS DISTINCT FROM c[3]::text
SQL
	0, '... and committed, as the server says');
is( value("SELECT min(c[1]::text::int), max(c[2]::text::int), sum(c[2]::text::int - c[1]::text::int + 1) FROM $xacts"),
	'32768|65535|32768', '... all of the page');

#
# A page that is changed all the time
#

$node->safe_psql('postgres',
	'CREATE TABLE busy (i int); INSERT INTO busy VALUES (1)');
my $session = session($node);
begin_query($session,
	'DO $$ BEGIN FOR i IN 1 .. 1000000 LOOP PERFORM FROM busy FOR UPDATE; COMMIT; END LOOP; END $$');
$node->poll_query_until('postgres',
	"SELECT state = 'active' FROM pg_stat_activity WHERE pid = $session->{backend}")
  or die 'nothing is changed';
my ($busy, $n_reports) = ('', 0);
while ($busy !~ /being changed/ && $n_reports++ < 30)
{
	report("busy $n_reports", "walredo_tag('busy', 0)");
	$busy = text_of("busy $n_reports");
}
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{backend})");
eval { $session->quit };
like($busy,
	qr/Sound\..* The page is being changed\. It had LSN \S+ when it was compared/,
	'a page that is changed all the time');

#
# Hostile contents
#

my $hostile =
  '</title><script>alert(1)</script><img src=x onerror="alert(2)"> &amp; \' "';
$node->safe_psql('postgres', <<SQL);
CREATE TABLE "<script>alert('x')</script>&amp;\x01\xE2\x80\xAE" (t text);
INSERT INTO "<script>alert('x')</script>&amp;\x01\xE2\x80\xAE"
VALUES (\$\$$hostile\$\$), (']]><!--'), (E'\\x01\\x1b[31m\\x7f'), ('\xC3\xA4\xE2\x82\xAC');
SQL
my $hostile_tag = value(
	q{SELECT walredo_tag(oid::regclass, 0) FROM pg_class WHERE relname LIKE '<script>%'}
);
report('hostile', "'$hostile_tag'");
is( value("SELECT count(*) FROM report WHERE octet_length(html) <> length(html) OR html ~ '[^\\n\\t -~]'"),
	0, 'reports are plain ASCII');
is( texts('hostile', 'string(/h:html/h:head/h:title)'),
	"Block 0 of public.\"<script>alert('x')</script>&amp;\\x01\\x202e\"",
	'a name is text');
like(texts('hostile', 'string(//h:table[h:caption="Line pointers and tuples"])'),
	qr/\Q<\/title><script>alert(1)<\/script>\E/, '... and so are rows');
like(value("SELECT html FROM report WHERE name = 'hostile'"),
	qr/&#228;&#8364;/, '... with other characters');
is( value(<<SQL),
SELECT string_agg(DISTINCT name COLLATE "C", ' ' ORDER BY name COLLATE "C")
FROM (SELECT (regexp_match(u::text, '^<([^ />]+)'))[1] FROM unnest(@{[ path_sql('hostile', '//*') ]}) u) x (name)
SQL
	'b body caption code defs desc details div figure footer h1 h2 h3 head html li main meta ol p path pattern pre rect span style summary svg table tbody td text th thead title tr ul',
	'there are no other elements');
is( count_of(
		'hostile',
		'//@*[starts-with(local-name(), "on") or local-name() = "href" or local-name() = "src"]'
	),
	0,
	'... and nothing that is run or loaded');

foreach my $encoding ('LATIN1', 'SQL_ASCII')
{
	$node->safe_psql('postgres',
		"CREATE DATABASE $encoding ENCODING '$encoding' LOCALE 'C' TEMPLATE template0"
	);
	$node->safe_psql(lc $encoding, <<SQL);
SET client_encoding = '$encoding';
CREATE EXTENSION walredo;
CREATE TABLE "t\xC4" (t text);
INSERT INTO "t\xC4" VALUES (convert_from('\\xe4f6', '$encoding'));
SQL
	is( $node->safe_psql(
			lc $encoding, <<'SQL'),
SELECT (regexp_match(walredo_report(walredo_tag(oid::regclass, 0)), '<title>([^<]*)<'))[1]
FROM pg_class WHERE relname ~ '^t.$'
SQL
		$encoding eq 'LATIN1' ? 'Block 0 of public.&#34;t&#196;&#34;'
		: 'Block 0 of public.&#34;t\xc4&#34;',
		"a name in $encoding");
}

#
# Privileges
#

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE nobody;
CREATE ROLE reader IN ROLE pg_read_server_files;
SQL
like(
	error_of($node, 'postgres', "SET ROLE nobody; SELECT walredo_report($account)"),
	qr/ERROR:  42501: permission denied for function walredo_report/,
	'a role that may not read WAL');
is( value("SET ROLE reader; SELECT walredo_report($account) ~ 'Sound\\.'"),
	't', '... and one that may');

#
# WAL that is missing, and relations that are
#

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE dropped (i int);
INSERT INTO dropped VALUES (1);
SQL
my $dropped = value("SELECT walredo_tag('dropped', 0)");
$node->safe_psql('postgres', <<'SQL');
DROP TABLE dropped;
SELECT pg_switch_wal();
CHECKPOINT;
UPDATE account SET owner = 'later' WHERE id = 1;
UPDATE account SET owner = 'later' WHERE id = 2;
SQL
report('dropped', "'$dropped'");
like(text_of('dropped'),
	qr/The page is not there now\. No relation has the file/,
	'a relation that was dropped');
is( texts('dropped', "$cards/h:p[\@class='mono']/text()"),
	value(
		"SELECT resource_manager || '/' || record_type FROM " . history_of("'$dropped'") . ' ORDER BY lsn'
	),
	'... has its history');

my $archive = copy_segments($node->data_dir . '/pg_wal', $node->basedir . '/archive');
my @segments = sort grep { /^[0-9A-F]{24}$/ } slurp_dir($archive);
my $first = segment_name(1, value('SELECT redo_lsn FROM pg_control_checkpoint()'));
unlink map { "$archive/$_" } grep { $_ lt $first } @segments;
report('missing', "$account, '$start', NULL, '$archive'");
like( text_of('missing'),
	qr{WAL is missing\. The history was to start at \Q$start\E, but WAL begins at},
	'WAL that is missing');
is( texts('missing', "$cards/h:h3/text()"),
	value(
		"SELECT format('Record %s, %s', row_number() OVER (ORDER BY lsn), lsn) FROM " . history_of($account, $archive) . ' ORDER BY lsn'
	),
	'... and the history that is there');

# An archive has whole segments.  The server has changed the page since.
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $open = value('SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
my $whole = copy_segments($node->data_dir . '/pg_wal', $node->basedir . '/whole');
unlink map { "$whole/$_" } grep { /^[0-9A-F]{24}$/ && $_ ge $open } slurp_dir($whole);
$node->safe_psql('postgres',
	"UPDATE account SET owner = 'since then' WHERE id = 3");
report('archived', "$account, NULL, NULL, '$whole'");
like(text_of('archived'), qr/Sound\. The page that the server has now is the one/,
	'WAL since an archive is read for the page of now');
like( texts('archived', "string($cards\[last()]/h:h3)"),
	qr/, @{[ value('SELECT max(lsn) FROM ' . history_of($account, $whole)) ]}$/,
	'... but not for its history');

#
# Damage
#

# The bytes that the list of differences says that the page, or WAL, has.
sub differences
{
	my ($name, $column) = @_;

	return texts($name,
		"//h:table[h:caption='Differences']/h:tbody/h:tr/*[$column]/text()");
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE damaged (id int, t text);
INSERT INTO damaged SELECT i, 'row ' || i FROM generate_series(1, 20) i;
CHECKPOINT;
SQL
my $file = path_of($node, 'postgres', 'damaged');
my $damaged = "walredo_tag('damaged', 0)";
my $offset = value(
	"SELECT lp_off + t_hoff + 4 FROM heap_page_items(get_raw_page('damaged', 0)) WHERE lp = 7"
);
my $sound = read_block($file, 0);

$node->stop;
overwrite($file, $offset, "\xCA\xFE");
$node->start;
report('unreadable', $damaged);
like(text_of('unreadable'),
	qr/Damaged\. The server cannot read the page: invalid page/,
	'a page with a wrong checksum');
is(differences('unreadable', 1), "$offset to " . ($offset + 1),
	'... of which bytes differ');
is(differences('unreadable', 3), 'ca fe', '... from the file');
is( differences('unreadable', 4),
	join(' ', unpack('(H2)*', substr($sound, $offset, 2))),
	'... and from WAL');
is( count_of('unreadable', '//s:svg[@id="page"]/s:path[@class="k-differ"]'),
	1, '... marked in the drawing');

report('earlier', "$damaged, NULL, '$start'");
like(text_of('earlier'),
	qr/Which bytes differ is not shown\. The reason is that the range does not/,
	'... not with a range that ends before');
my $now = value('SELECT pg_current_wal_flush_lsn()');
report('no records', "$damaged, '$now'");
is(differences('no records', 3), 'ca fe', '... but without a record in it');

# Without checksums, the server does not notice.
$node->stop;
command_ok([ 'pg_checksums', '--disable', '-D', $node->data_dir ],
	'no checksums');
$node->start;
report('changed', $damaged);
like(text_of('changed'), qr/Damaged\. The page is not what WAL says\./,
	'a page that was changed');
is(differences('changed', 3), 'ca fe', '... to these bytes');
is((dump_of('changed'))[1] =~ s/[^#]/./gr,
	'.' x $offset . '##' . '.' x ($page_size - $offset - 2),
	'... which are marked among all bytes');

# Line pointers that have the same bytes, and one that points to nowhere.
sub line_pointer
{
	my ($lp_off, $lp_len) = @_;

	return pack 'V', $lp_off | 1 << 15 | $lp_len << 17;
}

my ($lp_off, $lp_len) = split /\|/,
  value("SELECT lp_off, lp_len FROM heap_page_items(get_raw_page('damaged', 0)) WHERE lp = 3");
$node->stop;
overwrite($file, $offset, substr($sound, $offset, 2));
overwrite($file, 24 + 4 * 3, line_pointer($lp_off + 8, $lp_len));
overwrite($file, 24 + 4 * 9, line_pointer(8184, 40));
$node->start;
report('pointers', $damaged);
my $text = text_of('pointers');
like($text, qr/The page cannot be as it is\./, 'line pointers that are wrong');
like($text, qr/Line pointers 3 and 4 have the same bytes, from byte @{[ $lp_off + 8 ]} on\./,
	'... as they overlap');
like($text, qr/Line pointer 10 has offset 8184 and length 40, but tuples are from byte/,
	'... or point beyond the page');
is( value(
		"SELECT count(*) FROM unnest("
		  . path_sql('pointers',
			'//s:svg[@id="page"]/s:path[starts-with(@class, "k-broken")]/s:title/text()')
		  . ") u WHERE u::text ~ 'bytes of line pointers 3 and 4|line pointer 10, to 40 bytes'"
	),
	2,
	'... and are drawn as what they are');

# Bytes by chance; in the first half, with a header that can be.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE chance (t text);
ALTER TABLE chance ALTER t SET STORAGE PLAIN;
INSERT INTO chance SELECT repeat('x', 5000) FROM generate_series(1, 12);
SQL
$file = path_of($node, 'postgres', 'chance');
srand(1);
$node->stop;
foreach my $blkno (0 .. 11)
{
	my $bytes = join '', map { chr int rand 256 } 1 .. $page_size;

	substr($bytes, 10, 10) = pack 'v5', 0, 24 + 4 * (1 + int rand 300), 4000,
	  $page_size, 0x2004
	  if $blkno < 6;
	write_block($file, $blkno, $bytes);
}
$node->start;
foreach my $blkno (0 .. 11)
{
	report("chance $blkno", "walredo_tag('chance', $blkno)");
	like(text_of("chance $blkno"), qr/Damaged\./, "bytes by chance, $blkno");
}
$node->stop;
done_testing();
