# walredo/Makefile

MODULE_big = walredo
OBJS = \
	src/walredo.o \
	src/api/aggfuncs.o \
	src/api/aggscan.o \
	src/api/applyfuncs.o \
	src/api/checkfuncs.o \
	src/api/filefuncs.o \
	src/api/historyfuncs.o \
	src/api/imagefuncs.o \
	src/api/indexfuncs.o \
	src/api/linkfuncs.o \
	src/api/pagefuncs.o \
	src/api/recordfuncs.o \
	src/api/relationreportfuncs.o \
	src/api/repairfuncs.o \
	src/api/reportfuncs.o \
	src/api/rowfuncs.o \
	src/api/slrurepairfuncs.o \
	src/api/statfuncs.o \
	src/api/support.o \
	src/api/tagfuncs.o \
	src/api/verifyfuncs.o \
	src/api/versionfuncs.o \
	src/api/walfuncs.o \
	src/api/walstatsfuncs.o \
	src/backup/backup.o \
	src/child/child.o \
	src/child/redo.o \
	src/child/sandbox.o \
	src/child/template.o \
	src/index/builder.o \
	src/index/format.o \
	src/index/index_worker.o \
	src/index/indexer.o \
	src/index/store.o \
	src/index/summaries.o \
	src/native/clog.o \
	src/native/commit_ts.o \
	src/native/multixact.o \
	src/native/native.o \
	src/native/visibilitymap.o \
	src/page/arena.o \
	src/page/attempt.o \
	src/page/bases.o \
	src/page/cost_delay.o \
	src/page/current.o \
	src/page/entry_file.o \
	src/page/fork_ends.o \
	src/page/hole.o \
	src/page/image_file.o \
	src/page/links.o \
	src/page/page_at.o \
	src/page/pending.o \
	src/page/rebuild.o \
	src/page/scan.o \
	src/page/slru_compare.o \
	src/page/verify.o \
	src/page/verify_compare.o \
	src/page/verify_fork.o \
	src/page/verify_slru.o \
	src/pool/saved_request.o \
	src/pool/launch.o \
	src/pool/look.o \
	src/pool/pipe.o \
	src/pool/request.o \
	src/pool/shared.o \
	src/pool/slots.o \
	src/pool/stream.o \
	src/pool/worker.o \
	src/progress/progress.o \
	src/proto/proto.o \
	src/record/image.o \
	src/record/record.o \
	src/record/parse.o \
	src/record/tag.o \
	src/record/xlogrecord.o \
	src/redo/replay.o \
	src/redo/replay_saved.o \
	src/repair/install.o \
	src/repair/judge.o \
	src/repair/kept.o \
	src/repair/logged.o \
	src/repair/peer.o \
	src/repair/repair.o \
	src/repair/slru_repair.o \
	src/repair/undo.o \
	src/report/breaks.o \
	src/report/classes.o \
	src/report/html.o \
	src/report/live.o \
	src/report/page_svg.o \
	src/report/relation_data.o \
	src/report/relation_report.o \
	src/report/report.o \
	src/report/strip.o \
	src/report/xids.o \
	src/rows/catalog_at.o \
	src/rows/chunks.o \
	src/rows/heap_at.o \
	src/rows/heap_tuples.o \
	src/rows/row_json.o \
	src/rows/rows.o \
	src/rows/snapshot.o \
	src/rows/toast_at.o \
	src/rows/tuple.o \
	src/rows/tuple_events.o \
	src/rows/value.o \
	src/rows/value_json.o \
	src/rows/value_tsearch.o \
	src/rows/value_types.o \
	src/rows/versions.o \
	src/source/decompress.o \
	src/source/file_state.o \
	src/source/held_file.o \
	src/source/listing.o \
	src/source/restore.o \
	src/source/segment_file.o \
	src/source/segments.o \
	src/source/source.o \
	src/source/timeline.o \
	src/stats/stats.o \
	src/wal/changes.o \
	src/wal/changes_end.o \
	src/wal/changes_native.o \
	src/wal/file_names.o \
	src/wal/files.o \
	src/wal/names.o \
	src/wal/ranges.o \
	src/wal/reader.o \
	src/wal/redo_point.o \
	src/wal/times.o \
	src/wal/wal_stats.o \
	src/worker/signals.o

EXTENSION = walredo
DATA = walredo--1.0.sql
PGFILEDESC = "walredo - replay of write-ahead log records on single pages"

PG_CPPFLAGS = -I$(srcdir)/src
SHLIB_LINK = -lseccomp -lz -llz4 -lzstd

# Segments that bzip2 has compressed can be read if its library is there.
HAVE_BZIP2 := $(shell echo '\#include <bzlib.h>' | $(CC) -E - >/dev/null 2>&1 && echo yes)
ifeq ($(HAVE_BZIP2),yes)
PG_CPPFLAGS += -DWALREDO_HAVE_BZIP2
SHLIB_LINK += -lbz2
endif

REGRESS = types native apply apply_agg wal decode history literals privileges
REGRESS_OPTS = --load-extension=pageinspect --load-extension=walredo

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Runs the TAP tests.  This calls prove instead of setting TAP_TESTS, because PGXS
# silently ignores TAP_TESTS if the server was built without TAP tests, as
# packaged servers may be.  The tests start servers of their own from the
# installed PostgreSQL, so they cannot be run as root.
PROVE_TESTS ?= $(sort $(wildcard $(srcdir)/t/*.pl))

.PHONY: prove
prove:
	@perl -MIPC::Run -e 1
	@test -n "$(PROVE_TESTS)" || { echo "there are no TAP tests" >&2; exit 1; }
	rm -rf '$(CURDIR)/tmp_check'
	mkdir -p '$(CURDIR)/tmp_check/log'
	PATH="$(bindir):$$PATH" TESTDIR='$(CURDIR)' \
	TESTDATADIR='$(CURDIR)/tmp_check' TESTLOGDIR='$(CURDIR)/tmp_check/log' \
	PG_REGRESS='$(top_builddir)/src/test/regress/pg_regress' \
	prove -I '$(top_builddir)/src/test/perl' -I '$(srcdir)/t' $(PROVE_FLAGS) $(PROVE_TESTS)

# Makes the archive for PGXN from the last commit.
DIST_COMMIT ?= HEAD
DIST_DIRECTORY ?= $(CURDIR)
DIST_NAME = walredo-$(shell sed -n '1,/"provides"/s/^ *"version": "\(.*\)",$$/\1/p' '$(srcdir)/META.json')

.PHONY: dist
dist:
	git -C '$(srcdir)' archive --format=zip --prefix='$(DIST_NAME)/' \
		--output='$(abspath $(DIST_DIRECTORY))/$(DIST_NAME).zip' '$(DIST_COMMIT)'
