# scripts/lib.sh
#
# Functions that the scripts share.  This file is sourced by bash.
#
# The scripts work on a private copy of the installed PostgreSQL.  Its programs
# find their libraries and SQL scripts relative to themselves, so walredo can be
# built, installed and run without any change to the system's directories, by
# root or by anyone else.  Everything is in one directory, $scratch.  When the
# script ends, in whatever way, the directory is removed, and all processes that
# were started from it are ended.
#
#   PG_CONFIG   the pg_config of the server to use
#   PGVERSION   or the major version of a Debian server package
#
# If neither is set, the newest installed server is used, and on a machine
# without a server, the distribution's default one.  Missing packages are
# installed with apt-get, as root or through sudo.  If neither is possible, the
# script says which packages to install, and fails.

set -euo pipefail
umask 022

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The supported major versions of PostgreSQL, oldest first, each with the release
# of Debian that has it, or "-", and how scripts/test-versions tests it there:
# "full", "regress" for the regression tests only, or "-".  This is the list that
# counts.  t/004_layout.pl checks the others against it.
versions='
15 bookworm      full
16 -             -
17 trixie        full
18 sid           full
19 experimental  regress
'
oldest_version=$(awk 'NF { print $1; exit }' <<<"$versions")

scratch=			# the one directory that holds all
job=				# process group of what job() runs
background=()		# processes that run until the script ends
as_server=()		# prefix of commands that the server's user runs

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

#
# Finding the server, and what is missing
#

# Prints the version of the newest Debian server that has all of the given files
# in its directory.
newest_server()
{
	local candidate file

	for candidate in $(ls /usr/lib/postgresql 2>/dev/null | sort -Vr)
	do
		[ "$candidate" -ge $oldest_version ] 2>/dev/null || continue
		for file
		do
			[ -e "/usr/lib/postgresql/$candidate/$file" ] || continue 2
		done
		say "$candidate"
		return
	done
}

# Sets version, the major version to use, and pg_config, its pg_config, which may
# be missing yet.  $1 is the purpose, as for need_packages().
find_server()
{
	local found wanted=lib/pgxs

	[ "${1:-}" != installed ] || wanted=lib/walredo.so
	debian=yes
	if [ -n "${PG_CONFIG:-}" ]
	then
		pg_config=$(command -v "$PG_CONFIG") ||
			die "cannot run PG_CONFIG=$PG_CONFIG"
	else
		version=${PGVERSION:-$(newest_server bin/postgres $wanted)}
		version=${version:-$(newest_server bin/postgres)}
		if [ -z "$version" ]
		then
			# No Debian server: is there one of another kind in PATH?
			pg_config=$(command -v pg_config || true)
			if [ -z "$pg_config" ] || [ ! -x "$("$pg_config" --bindir)/postgres" ]
			then
				pg_config=
				version=$({ apt-cache depends postgresql 2>/dev/null || true; } |
						  sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p')
			fi
		fi
		: "${pg_config:=/usr/lib/postgresql/$version/bin/pg_config}"
	fi

	if [ -x "$pg_config" ]
	then
		found=$("$pg_config" --version) || die "cannot run $pg_config"
		version=$(say "$found" | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
		[ "$version" -ge $oldest_version ] ||
			die "walredo needs PostgreSQL $oldest_version or newer, and this is $found"
		[ "$("$pg_config" --bindir)" = "/usr/lib/postgresql/$version/bin" ] ||
			debian=no
	fi
}

# The libraries that walredo is linked with: the package, and a header of it.
headers=(
	"libseccomp-dev seccomp.h"
	"zlib1g-dev zlib.h"
	"liblz4-dev lz4frame.h"
	"libzstd-dev zstd.h"
	"libbz2-dev bzlib.h"
)

# The programs that make archives for the tests: the package, and the program.
archivers=(
	"gzip gzip"
	"bzip2 bzip2"
	"lz4 lz4"
	"zstd zstd"
	"pgbackrest pgbackrest"
	"barman barman"
)

compiles()
{
	printf '%s\nint main(void) { return 0; }\n' "$1" |
		${CC:-gcc} -x c -fsyntax-only - 2>/dev/null
}

# Prints the path of the clang that fuzzing is built with, if there is one.
find_clang()
{
	command -v "${CLANG:-clang}" || true
}

# Returns whether the libraries that fuzzing needs are there for a clang.
has_fuzzer()
{
	local runtime arch

	runtime=$("$1" -print-resource-dir)/lib/linux
	arch=$(uname -m)
	[ -f "$runtime/libclang_rt.fuzzer_no_main-$arch.a" ] &&
		[ -f "$runtime/libclang_rt.asan-$arch.so" ]
}

# Prints a line "package reason" for each thing that is missing.
missing()
{
	local bindir=/nonexistent pgxs=/nonexistent server=/nonexistent
	local share=/nonexistent library=/nonexistent program clang header

	if [ -x "$pg_config" ]
	then
		bindir=$("$pg_config" --bindir)
		pgxs=$("$pg_config" --pgxs)
		server=$("$pg_config" --includedir-server)
		share=$("$pg_config" --sharedir)
		library=$("$pg_config" --pkglibdir)
	fi
	for program in postgres initdb pg_ctl psql
	do
		[ -x "$bindir/$program" ] || say "postgresql-$version $program"
	done
	[ -f "$share/extension/pageinspect.control" ] ||
		say "postgresql-$version the extension pageinspect"
	if [ "$1" = installed ]
	then
		[ -f "$share/extension/walredo.control" ] ||
			say "postgresql-$version-walredo the extension walredo"
		[ -f "$library/walredo.so" ] ||
			say "postgresql-$version-walredo walredo.so"
		return
	fi
	[ -f "$pgxs" ] || say "postgresql-server-dev-$version PGXS"
	[ -f "$server/postgres.h" ] ||
		say "postgresql-server-dev-$version the server's headers"
	if command -v "${CC:-gcc}" >/dev/null
	then
		compiles '#include <stdio.h>' || say "libc6-dev the C library's headers"
	else
		say "gcc a C compiler"
		say "libc6-dev the C library's headers"
	fi
	for header in "${headers[@]}"
	do
		compiles "#include <${header#* }>" || say "$header"
	done
	command -v make >/dev/null || say "make make"
	if [ "$1" = bench ]
	then
		command -v zstd >/dev/null || say "zstd zstd"
	elif [ "$1" != demo ]
	then
		clang=$(find_clang)
		if [ -z "$clang" ]
		then
			say "clang clang, for fuzzing"
			say "libclang-rt-dev libFuzzer, for fuzzing"
		elif ! has_fuzzer "$clang"
		then
			say "libclang-rt-$("$clang" -dumpversion | sed 's/\..*//')-dev libFuzzer"
		fi
	fi
	if [ "$1" = test ]
	then
		pgxs=${pgxs%/makefiles/pgxs.mk}
		command -v prove >/dev/null || say "perl prove"
		perl -MIPC::Run -e 1 2>/dev/null ||
			say "libipc-run-perl the Perl module IPC::Run"
		[ -f "$pgxs/test/perl/PostgreSQL/Test/Cluster.pm" ] ||
			say "postgresql-server-dev-$version the Perl module PostgreSQL::Test::Cluster"
		[ -x "$pgxs/test/regress/pg_regress" ] ||
			say "postgresql-server-dev-$version pg_regress"
		for program in "${archivers[@]}"
		do
			command -v "${program#* }" >/dev/null || say "$program"
		done
		[ -z "${needs_browser:-}" ] || command -v chromium >/dev/null ||
			say "chromium a browser, for reports"
	fi
}

#
# Installs packages with apt-get, as root.  The first server package would create
# a cluster "main" and start it, which the user has not asked for.  A file in
# createcluster.d makes postgresql-common not do that.  The file is there only
# while apt-get runs.
#
install_packages()
{
	local -a root=()
	local conf=/etc/postgresql-common/createcluster.d/walredo-no-cluster.conf
	local status=0

	if [ "$(id -u)" -ne 0 ]
	then
		root=(sudo)
		[ -t 0 ] || root=(sudo -n)
	fi
	"${root[@]}" env CONF="$conf" sh -e -c '
		export DEBIAN_FRONTEND=noninteractive
		created=$(dirname "$CONF")
		[ ! -d "$created" ] || created=
		trap "rm -f \"$CONF\"; [ -z \"$created\" ] || rmdir \"$created\" 2>/dev/null || :" EXIT
		trap "exit 1" HUP INT TERM
		mkdir -p "$(dirname "$CONF")"
		echo "create_main_cluster = false" >"$CONF"
		apt-get -q install -y --no-install-recommends "$@" || {
			apt-get -q update
			apt-get -q install -y --no-install-recommends "$@"
		}' sh "$@" </dev/null || status=$?
	return $status
}

can_be_root()
{
	[ "$(id -u)" -eq 0 ] && return
	command -v sudo >/dev/null || return
	[ -t 0 ] || sudo -n true 2>/dev/null
}

# Checks that everything is there, and installs what is missing.  $1 is the
# purpose: demo, test, bench, fuzz, or installed, which is a demo of the walredo
# that is already installed.
need_packages()
{
	local lacks
	local -a packages

	find_server "$1"
	if [ -z "$version" ] && command -v apt-get >/dev/null && can_be_root
	then
		say "== No PostgreSQL found: asking apt-get for the default version"
		if [ "$(id -u)" -eq 0 ]
		then
			apt-get -q update
		elif [ -t 0 ]
		then
			sudo apt-get -q update
		else
			sudo -n apt-get -q update
		fi
		find_server "$1"
	fi
	if [ -z "$version" ]
	then
		say "No PostgreSQL server found.  Set PG_CONFIG to its pg_config, or, as root:"
		say "  apt-get install postgresql postgresql-server-dev-all ${headers[*]% *} gcc libc6-dev make clang libclang-rt-dev libipc-run-perl ${archivers[*]% *}"
		die "no PostgreSQL server"
	fi
	[ "$version" -ge $oldest_version ] ||
		die "walredo needs PostgreSQL $oldest_version or newer, and this is $version"

	lacks=$(missing "$1")
	[ -n "$lacks" ] || return 0

	say "Missing here:"
	say "$lacks" | sed 's/^\([^ ]*\) \(.*\)$/  \2 (package \1)/'
	packages=($(say "$lacks" | cut -d' ' -f1 | sort -u))
	if [ $debian = no ] && say "$lacks" | grep -q '^postgresql-'
	then
		die "the server of $pg_config lacks what is listed above"
	fi
	if ! command -v apt-get >/dev/null || ! can_be_root
	then
		die "please install them, as root: apt-get install ${packages[*]}"
	fi
	say "== Installing ${packages[*]}"
	install_packages "${packages[@]}" ||
		die "could not install; as root: apt-get install ${packages[*]}"
	find_server "$1"
	lacks=$(missing "$1")
	[ -z "$lacks" ] || die "still missing after installation: $lacks"
}

#
# The scratch directory, and its removal
#

# Prints the IDs of all processes that run a program of the private server.
scratch_processes()
{
	local exe

	for exe in /proc/[0-9]*/exe
	do
		case $(readlink "$exe" 2>/dev/null) in
			"$scratch"/*)
				exe=${exe#/proc/}
				say "${exe%/exe}"
				;;
		esac
	done
}

# Ends all processes that still run programs of the private server.  A server that
# is killed would leave its shared memory behind, so it is first told to shut
# down.
end_processes()
{
	local signal i pids

	for signal in QUIT KILL
	do
		pids=$(scratch_processes)
		[ -n "$pids" ] || return
		kill -$signal $pids 2>/dev/null
		for i in $(seq 50)
		do
			[ -n "$(scratch_processes)" ] || return
			sleep 0.1
		done
	done
}

cleanup()
{
	local status=$?

	trap - EXIT
	trap '' HUP INT TERM
	set +e
	cd /
	if [ -n "$job" ]
	then
		kill -TERM -- "-$job" 2>/dev/null
		wait "$job" 2>/dev/null
	fi
	[ ${#background[@]} -eq 0 ] || kill "${background[@]}" 2>/dev/null
	end_processes
	rm -rf "$scratch"
	exit $status
}

#
# Runs a command as the server's user, in a process group of its own and for
# at most $1 seconds, so that neither a signal nor a hanging test keeps the script
# from ending.
#
job()
{
	local limit=$1 status=0

	shift
	set -m
	timeout -k 10 "$limit" "${as_server[@]}" "$@" </dev/null &
	job=$!
	set +m
	wait "$job" || status=$?
	job=
	[ $status -ne 124 ] || say "stopped after $limit seconds: $*" >&2
	return $status
}

# Creates the scratch directory, with a copy of the sources and of the server.
make_scratch()
{
	local dir variable

	case ${TMPDIR:-/tmp} in
		*[[:space:]]*) die "make cannot work in TMPDIR=$TMPDIR, whose name has a blank" ;;
	esac
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/walredo.XXXXXX")
	scratch=$(cd "$scratch" && pwd -P)
	trap cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	mkdir "$scratch/source" "$scratch/tmp"
	tar -C "$top" -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' \
		--exclude='*.so' --exclude=./results --exclude=./tmp_check \
		--exclude=./log --exclude=./fuzz/corpus --exclude=./fuzz/findings . | tar -C "$scratch/source" -xf -

	for dir in bindir pkglibdir sharedir
	do
		dir=$("$pg_config" --$dir)
		mkdir -p "$scratch/server$dir"
		cp -a "$dir/." "$scratch/server$dir/"
	done
	for dir in pkgincludedir includedir-server
	do
		dir=$("$pg_config" --$dir)
		[ ! -e "$scratch/server$dir" ] && [ -e "$dir" ] || continue
		mkdir -p "$(dirname "$scratch/server$dir")"
		ln -s "$dir" "$scratch/server$dir"
	done
	pg_config=$scratch/server$("$pg_config" --bindir)/pg_config
	bindir=$("$pg_config" --bindir)
	sharedir=$("$pg_config" --sharedir)
	case $bindir:$sharedir in
		"$scratch"/*:"$scratch"/*) ;;
		*) die "a copy of this server does not find its files: $bindir, $sharedir" ;;
	esac

	if [ "$(id -u)" -eq 0 ]
	then
		# The server refuses to run as root.
		id postgres >/dev/null 2>&1 || die "there is no user postgres to run the server"
		as_server=(runuser -u postgres --)
		chown -R postgres: "$scratch"
	fi
	chmod 700 "$scratch"

	# No environment variable of the caller may lead to another server.
	for variable in ${!PG@}
	do
		unset "$variable"
	done
	unset MAKEFLAGS MAKELEVEL MFLAGS
	export HOME=$scratch TMPDIR=$scratch/tmp LC_ALL=C
	export PATH=$bindir:$PATH
	cd "$scratch/source"
}

# Prints the end of files, each with its name.
show_tails()
{
	local file

	for file
	do
		[ -s "$file" ] || continue
		say "---- ${file#"$scratch/"}"
		tail -n 60 "$file"
	done
}

# Builds walredo and installs it into the private server.  Arguments are passed on
# to make.  No bitcode is built: it would need clang, and only serves to inline
# functions in the server's JIT.
build()
{
	if ! job 600 make -j"$(nproc)" PG_CONFIG="$pg_config" with_llvm=no "$@" \
		>"$scratch/build.log" 2>&1 ||
		! job 60 make install PG_CONFIG="$pg_config" with_llvm=no "$@" \
		>>"$scratch/build.log" 2>&1
	then
		show_tails "$scratch/build.log"
		die "could not build walredo"
	fi
}

# AddressSanitizer has to be loaded before everything else.  Then it looks for the
# function swift_demangle while the server's libraries, which use gettext, are
# being loaded.  If there is no such function, the C library takes its lock on
# messages a second time, and hangs.  This builds a library that has the function,
# and prints the library's name; $1 is the compiler.
demangle_library()
{
	job 60 sh -c 'echo "char *swift_demangle(void) { return 0; }" |
		"$0" -shared -fPIC -x c - -o "$1"' "$1" "$scratch/tmp/demangle.so"
	say "$scratch/tmp/demangle.so"
}

#
# A throw-away server, which listens only on a socket in $scratch
#

init_server()
{
	job 120 initdb -D "$scratch/data" -U postgres -A trust -N --no-locale -E UTF8 \
		>"$scratch/initdb.log" 2>&1 ||
		{ show_tails "$scratch/initdb.log"; die "could not make a data directory"; }
	cat >>"$scratch/data/postgresql.conf" <<-END
		listen_addresses = ''
		unix_socket_directories = '$scratch'
		fsync = off
	END
	export PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# The prefix of the pg_ctl command that starts a server, and options for it.
start_prefix=()
start_options=()

# Starts the server.  The arguments are lines for postgresql.conf.
start_server()
{
	local setting

	for setting
	do
		say "$setting" >>"$scratch/data/postgresql.conf"
	done
	if ! job 120 "${start_prefix[@]}" pg_ctl "${start_options[@]}" \
		-D "$scratch/data" -l "$scratch/server.log" -w start \
		>"$scratch/start.log" 2>&1
	then
		show_tails "$scratch/start.log" "$scratch/server.log"
		die "could not start the server"
	fi
}

stop_server()
{
	job 60 pg_ctl -D "$scratch/data" -m fast -w stop >"$scratch/stop.log" 2>&1
}
