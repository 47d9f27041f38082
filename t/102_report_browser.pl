# Documents about pages in a real browser: what it draws, in the light and in the
# dark, on paper and on a narrow screen, and that it asks for nothing and has
# nothing to complain of.
#
# Seen to fail: with a drawing that was too narrow for its text; with a table that
# was wider than the window; with a pattern that was not defined; with an image
# from another host, and a content security policy that allowed it; with text of
# one colour on a light and on a dark screen; with a title left out.

use FindBin;
use lib $FindBin::RealBin;

use WalredoBrowser;
use WalredoTest;

plan skip_all => 'there is no browser' if !has_browser();

my $node = wal_server('main', conf => "shared_preload_libraries = 'walredo'");
my $directory = $node->basedir;
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE account (id int PRIMARY KEY, owner text);
INSERT INTO account SELECT i, 'owner ' || i FROM generate_series(1, 40) i;
UPDATE account SET owner = 'another' WHERE id % 9 = 0;
DELETE FROM account WHERE id % 7 = 0;
INSERT INTO account VALUES (99, '<img src="http://example.com/x.png" onerror="console.log(1)"><script>console.log(2)</script>' || repeat('W', 90));
CREATE TABLE doc (w int[]);
CREATE INDEX doc_gin ON doc USING gin (w);
INSERT INTO doc SELECT ARRAY[i % 7, i % 11] FROM generate_series(1, 200) i;
CREATE TABLE damaged (id int, t text);
INSERT INTO damaged SELECT i, 'row ' || i FROM generate_series(1, 20) i;
CHECKPOINT;
SQL

my $file = path_of($node, 'postgres', 'damaged');
my $offset = $node->safe_psql('postgres',
	"SELECT lp_off + t_hoff + 4 FROM heap_page_items(get_raw_page('damaged', 0)) WHERE lp = 7"
);
$node->stop;
overwrite($file, $offset, "\xCA\xFE");
overwrite($file, 24 + 4 * 9, pack 'V', 8184 | 1 << 15 | 40 << 17);
$node->start;

sub value
{
	return $node->safe_psql('postgres', shift);
}

my %tags = (
	heap => "walredo_tag('account', 0)",
	btree => "walredo_tag('account_pkey', 1)",
	gin => "walredo_tag('doc_gin', 1)",
	damaged => "walredo_tag('damaged', 0)");
write_file("$directory/$_.html", value("SELECT walredo_report($tags{$_})"))
  foreach keys %tags;

# How many line pointers the drawing must have, and how many tuples.
my %items = (
	heap => [
		value("SELECT count(*) FROM heap_page_items(get_raw_page('account', 0))"),
		value(
			"SELECT count(*) FROM heap_page_items(get_raw_page('account', 0)) WHERE lp_flags = 1"
		)
	],
	btree => [ (value("SELECT count(*) FROM bt_page_items('account_pkey', 1)"))
		x 2 ],
	gin => [
		(value(
			"SELECT (lower - 24) / 4 FROM page_header(get_raw_page('doc_gin', 1))"
		)) x 2 ],
	damaged => [ 20, 19 ]);

my $browser = WalredoBrowser->new("$directory/browser");

# Functions for the document: the boxes of elements, as a page in the window has
# them, and those that are not in another one's.
my $helpers = <<'JS';
const all = (selector, in_) => [...(in_ || document).querySelectorAll(selector)];
const box = e => e.getBoundingClientRect();
const titleOf = e => (e.querySelector('title') || { textContent: '' }).textContent;
const inside = (e, outer) => {
	const a = box(e), b = box(outer);
	return a.left >= b.left - 1 && a.right <= b.right + 1 &&
		a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
};
const luminance = colour => {
	const c = colour.match(/[\d.]+/g).slice(0, 3).map(x => x / 255)
		.map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
	return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
};
const contrast = (a, b) => {
	const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
	return (x + 0.05) / (y + 0.05);
};
JS

sub in_document
{
	my ($expression) = @_;

	return $browser->evaluate("(() => { $helpers return $expression; })()");
}

# What is wrong with how the document is laid out, in a line for each.
my $layout_problems = <<'JS';
[
	...all('svg.drawing').flatMap(svg =>
		all('path, rect, text', svg).filter(e => !inside(e, svg))
		.map(e => `${svg.id}: ${e.outerHTML.slice(0, 80)}`)),
	...all('.card').flatMap(card =>
		all('*:not(title):not(desc)', card).filter(e => !inside(e, card))
		.map(e => `card: ${e.outerHTML.slice(0, 80)}`)),
	...all('.legend li').filter((e, i, list) =>
		list.some(o => o !== e && box(o).left < box(e).right - 1 &&
			box(e).left < box(o).right - 1 && box(o).top < box(e).bottom - 1 &&
			box(e).top < box(o).bottom - 1)).map(e => `legend: ${e.textContent}`),
	...(document.documentElement.scrollWidth > innerWidth ?
		[`as wide as ${document.documentElement.scrollWidth}`] : [])
].slice(0, 5).join('\n')
JS

foreach my $name (sort keys %tags)
{
	my ($line_pointers, $tuples) = @{ $items{$name} };

	$browser->call('Emulation.setEmulatedMedia', media => '');
	$browser->open_file("$directory/$name.html");
	is(in_document(
			q{all('#page path').filter(e => /^(DAMAGE|)line pointer \d+, /.test(titleOf(e))).length}
		),
		$line_pointers,
		"$name: line pointers are drawn");
	is(in_document(
			q{new Set(all('#page path').map(e => (titleOf(e).match(/^tuple (\d+): /) || [])[1]).filter(n => n)).size}
		),
		$tuples,
		'... and tuples');
	is(in_document(q{all('#page path').filter(e => !titleOf(e) || !box(e).width || !box(e).height).length}),
		0,
		'... each with its title, and to be seen');
	is( in_document(
			q{all('svg [class^="k-"]').map(e => getComputedStyle(e).fill).filter(f => f === 'rgb(0, 0, 0)' || (/^url/.test(f) && !document.querySelector(f.match(/#[\w-]+/)[0]))).length}
		),
		0,
		'... and colours and patterns are defined');
	is(in_document($layout_problems), '', '... and nothing is where it cannot be');
	is( in_document(
			q{all('svg[role="img"]').filter(e => e.getAttribute('aria-labelledby').split(' ').some(id => !document.getElementById(id).textContent)).length}
		),
		0,
		'... and drawings have a title and a description');
	is(in_document(q{document.images.length + document.scripts.length}),
		0, '... and there are no images and no scripts');

	# In the light and in the dark.
	my %background;
	foreach my $scheme (qw(light dark))
	{
		$browser->call(
			'Emulation.setEmulatedMedia',
			features =>
			  [ { name => 'prefers-color-scheme', value => $scheme } ]);
		$background{$scheme} =
		  in_document(q{getComputedStyle(document.body).backgroundColor});
		is( in_document(
				q{all('h1, h2, p, td, th, h3, figcaption, code, b, li').filter(e => contrast(getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor) < 4.5).map(e => e.outerHTML.slice(0, 60)).join('\n')}
			),
			'',
			"... and text can be read, $scheme");
	}
	isnt($background{light}, $background{dark}, '... with other colours');

	# On paper, and on a narrow screen.
	$browser->call('Emulation.setEmulatedMedia', media => 'print');
	is(in_document(q{getComputedStyle(document.body).backgroundColor}),
		'rgb(255, 255, 255)', '... and on white paper');
	cmp_ok(
		length $browser->call('Page.printToPDF', printBackground => JSON::PP::true)
		  ->{data},
		'>', 20000, '... which is printed');
	$browser->call('Emulation.setEmulatedMedia', media => '');
	$browser->call(
		'Emulation.setDeviceMetricsOverride',
		width => 420,
		height => 900,
		deviceScaleFactor => 1,
		mobile => JSON::PP::false);
	is(in_document($layout_problems), '', '... and on a narrow screen');
	$browser->call('Emulation.clearDeviceMetricsOverride');

	is_deeply([ $browser->messages ], [], '... without complaints');
	is_deeply(
		[ $browser->requests ],
		["file://$directory/$name.html"],
		'... or requests');
	next if $name ne 'damaged';
	is(in_document(q{all('#page .k-differ').length}), 2,
		'... and damage is marked');
	is(in_document(q{all('#page .k-broken').length}), 1,
		'... and what cannot be');
}

$browser->stop;
$node->stop;
done_testing();
