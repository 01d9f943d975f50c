# bench/lib.sh: what the parts of the benchmark share. To be sourced.
#
# A part (bench/parts/NAME) runs beside a throw-away server of its own. It prints
# one row for each figure it measured,
#
#	MEASURE VARIANT ROUND FIGURE...
#
# and fails if anything that it counts is not as it must be. Its report is made of
# the rows alone (bench/report), so it can be made again without measuring.

set -euo pipefail

rounds=${BENCH_ROUNDS:-5}
seconds=${BENCH_SECONDS:-5}
clients=${BENCH_CLIENTS:-16}

# What a channel sends, kept with the event by everybody.
payload='{"id": "evt_1MqqbKLt4dXK03v5qaIbiNCC", "type": "payment_intent.succeeded", "object": "event", "livemode": true}'

all_parts='lifecycle clients duplicate hot cpu batch day wal size memory claim'

# Parts may need another server than this one.
server_conf=(
	'shared_buffers = 1GB' 'min_wal_size = 2GB' 'max_wal_size = 16GB'
	'checkpoint_timeout = 1h' 'autovacuum = off' 'maintenance_work_mem = 512MB'
)

say()
{
	echo "bench: $*" >&2
}

fail()
{
	say "$*"
	exit 1
}

# row MEASURE VARIANT ROUND FIGURE...
row()
{
	echo "$*"
	echo "$*" >&2
}

sql()
{
	psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 "$@"
}

one()
{
	sql -c "$1"
}

divide()
{
	awk -v a="$1" -v b="$2" -v digits="${3:-2}" 'BEGIN { printf "%.*f\n", digits, a / b }'
}

# ---- the tables ----

# The tables of a variant: payment, attempt, event and task.
tables_of()
{
	case $1 in
		pay_idem) echo pay_payment pay_attempt pay_event pay_task ;;
		*) echo "$1.payment $1.attempt $1.event $1.task" ;;
	esac
}

# Make a variant's tables anew, with some orders in them: all paid, or every second one.
fill()
{
	local variant=$1 count=$2 all_paid=$3

	make_tables "$variant"
	if [ "$variant" = pay_idem ]
	then
		sql -v orders="$count" -v all_paid="$all_paid" -f "$bench/sql/seed_pay_idem.sql" >/dev/null
	else
		sql -v schema="$variant" -v orders="$count" -v all_paid="$all_paid" -f "$bench/sql/seed_rival.sql" >/dev/null
	fi
}

make_tables()
{
	if [ "$1" = pay_idem ]
	then
		sql -f "$bench/sql/tables_pay_idem.sql" >/dev/null
	else
		sql -v schema="$1" -v extension_schema=public -f "$bench/sql/rival_tables.sql" >/dev/null
		[ "$1" != plpgsql ] || sql -f "$bench/sql/plpgsql.sql" >/dev/null
	fi
}

# fill_many VARIANT COUNT: the variant's tables anew, with so many paid payments, their
# attempts and both events; order, request, message and transaction numbers are random.
fill_many()
{
	local variant=$1 count=$2 t what job jobs=()

	make_tables "$variant"
	set -- $(tables_of "$variant")
	say "$variant: filling $count payments"
	# events are the most, so they begin
	for what in event payment attempt
	do
		case $what in payment) t=$1 ;; attempt) t=$2 ;; event) t=$3 ;; esac
		sql -v table="$t" -v what="$what" -v payments="$count" -v payload="$payload" -v ours="$([ "$variant" = pay_idem ] && echo true || echo false)" \
			-f "$bench/sql/fill_many.sql" >/dev/null &
		jobs+=($!)
	done
	for job in "${jobs[@]}"
	do
		wait "$job" || fail "$variant: could not fill"
	done
	one "VACUUM (ANALYZE) $1"
	one "VACUUM (ANALYZE) $2"
	one "VACUUM (ANALYZE) $3"
	[ "$(one "SELECT (SELECT count(*) FROM $1), (SELECT count(*) FROM $2), (SELECT count(*) FROM $3)")" = "$count $count $((2 * count))" ] ||
		fail "$variant: not $count payments"
}

# Write-ahead log files to write into again, as a server has that runs for long.
warm_log()
{
	local _

	for _ in $(seq 40)
	do
		echo "SELECT pg_logical_emit_message(false, 'bench', repeat('x', 1000)); SELECT pg_switch_wal();"
	done | sql >/dev/null
	one 'CHECKPOINT'
}

# The highest payment number of a variant.
last_number()
{
	set -- $(tables_of "$1")
	one "SELECT pay_no FROM $1 ORDER BY pay_no DESC LIMIT 1"
}

# contents VARIANT [NUMBER]: payments attempts events, paid payments and attempts with
# the right sum, entries of all indexes, tasks. Of payments after NUMBER, if it is
# given; entries are not counted then.
contents()
{
	local since=${2:-00000000-0000-0000-0000-000000000000} entries=() index

	set -- $(tables_of "$1") "${2:-}"
	if [ -z "$5" ]
	then
		for index in $(one "SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('$1'::regclass, '$2'::regclass, '$3'::regclass, '$4'::regclass)")
		do
			entries+=("+ (SELECT tuple_count FROM pgstattuple('$index'))")
		done
	fi
	# Attempts sort with their payments; the planner takes what is quicker.
	one "SELECT (SELECT count(*) FROM $1 WHERE pay_no > '$since'), (SELECT count(*) FROM $2 WHERE trade_no > '$since' AND pay_no > '$since'),
		(SELECT count(*) FROM $3 WHERE pay_no > '$since'),
		(SELECT count(*) FROM $1 p JOIN $2 a USING (pay_no)
			WHERE p.pay_no > '$since' AND a.trade_no > '$since' AND p.winner = 1 AND p.amount_collected = p.amount
				AND a.amount_collected = p.amount AND a.channel_txn IS NOT NULL AND p.last_seq = 2),
		0 ${entries[*]}, (SELECT count(*) FROM $4 WHERE pay_no > '$since')"
}

# updates, and how many of them were HOT
updates()
{
	set -- $(tables_of "$1")
	one "SELECT sum(n_tup_upd), sum(n_tup_hot_upd) FROM pg_stat_user_tables
		WHERE relid IN ('$1'::regclass, '$2'::regclass, '$3'::regclass)"
}

# The columns that are not NULL in the rows of one finished order.
columns()
{
	set -- $(tables_of "$1")
	one "SELECT string_agg(t || '.' || seq || '.' || key, ' ' ORDER BY t, seq, n) FROM (
		SELECT 'payment' AS t, 0 AS seq, j.* FROM (SELECT * FROM $1 WHERE pay_no = (SELECT max(pay_no::text) FROM $1)::uuid) p,
			json_each_text(row_to_json(p)) WITH ORDINALITY j (key, value, n)
		UNION ALL
		SELECT 'attempt', 0, j.* FROM (SELECT * FROM $2 WHERE pay_no = (SELECT max(pay_no::text) FROM $1)::uuid) p,
			json_each_text(row_to_json(p)) WITH ORDINALITY j (key, value, n)
		UNION ALL
		SELECT 'event', seq, j.* FROM (SELECT * FROM $3 WHERE pay_no = (SELECT max(pay_no::text) FROM $1)::uuid) p,
			json_each_text(row_to_json(p)) WITH ORDINALITY j (key, value, n)
		) t WHERE value IS NOT NULL"
}

# same_columns VARIANT...: nobody leaves out a column that others fill
same_columns()
{
	local variant first=$1

	for variant in "$@"
	do
		cmp -s "$scratch/columns.$variant" "$scratch/columns.$first" ||
			fail "$variant fills other columns: $(diff <(tr ' ' '\n' <"$scratch/columns.$first") <(tr ' ' '\n' <"$scratch/columns.$variant") | grep '^[<>]' | tr '\n' ' ')"
	done
}

# ---- one run ----

# Processor time of all the server's sessions that have ended, in ticks.
session_ticks()
{
	sed 's/.*) //' "/proc/$postmaster/stat" | awk '{ print $14 + $15 }'
}

# Sessions have told their figures when they are gone.
wait_for_sessions()
{
	until [ "$(one "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")" -eq 0 ]
	do
		sleep 0.1
	done
	sleep 0.1
}

# Processor time of the sessions since TICKS, for each of N, in µs.
cpu_us()
{
	awk -v ticks="$(($(session_ticks) - $1))" -v n="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f\n", ticks / hz * 1e6 / n }'
}

# play SCRIPT [OPTION]...: a pgbench script, for some seconds; sets processed,
# per_second, latency_ms and cpu. Options are pgbench's, over the usual ones.
play()
{
	local script=$1 log=$scratch/pgbench.log ticks how_long=(-T "$seconds")

	shift
	case " $* " in *' -t '*) how_long=() ;; esac
	[ -e "$script" ] || script=$bench/scripts/$script.pgbench
	ticks=$(session_ticks)
	pgbench -n -M prepared -c "$clients" -j 2 "${how_long[@]}" -D clock="$(date +%s)000000" -D payload="$payload" \
		-f "$script" "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "$script failed"; }
	! grep -qi 'error' "$log" || { cat "$log" >&2; fail "$script had errors"; }
	processed=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$log")
	latency_ms=$(sed -n 's/^latency average = \([0-9.]*\) ms.*/\1/p' "$log")
	per_second=$(sed -n 's/^tps = \([0-9.]*\) .*/\1/p' "$log")
	grep -q '^number of failed transactions: 0 ' "$log" || { cat "$log" >&2; fail "$script had failed transactions"; }
	[ "${processed:-0}" -gt 0 ] || { cat "$log" >&2; fail "$script did nothing"; }
	wait_for_sessions
	cpu=$(cpu_us "$ticks" "$processed")
}

commits()
{
	one "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
}

# bytes of log, and how many full page images are in them
wal()
{
	one "SELECT pg_current_wal_insert_lsn() - '0/0', wal_fpi FROM pg_stat_wal"
}

# begin_lifecycles VARIANT [NUMBER], end_lifecycles VARIANT COUNT [NUMBER]: around a run
# that takes COUNT orders from prepay to paid. The latter fails if that is not what
# is in the tables now, and sets wal_bytes, images, hot (%) and entries, for each.
begin_lifecycles()
{
	contents_before=($(contents "$@"))
	updates_before=($(updates "$1"))
	commits_before=$(commits)
	wal_before=($(wal))
}

end_lifecycles()
{
	local variant=$1 n=$2 done_commits a b=("${contents_before[@]}") wal_after updates_after

	wal_after=($(wal))
	done_commits=$(($(commits) - commits_before))
	a=($(contents "$variant" ${3:-}))
	updates_after=($(updates "$variant"))

	# Neither we nor a rival wins by writing less, or by committing less often.
	[ "$((a[0] - b[0])) $((a[1] - b[1])) $((a[2] - b[2])) $((a[3] - b[3])) $((a[5] - b[5]))" = "$n $n $((2 * n)) $n $n" ] ||
		fail "$variant: $n lifecycles, but the rows went from ${b[*]} to ${a[*]}"
	[ "$((done_commits - 2 * n))" -ge 0 ] && [ "$((done_commits - 2 * n))" -le 100 ] ||
		fail "$variant: $n lifecycles in $done_commits commits"
	[ "$((updates_after[0] - updates_before[0]))" -eq "$((2 * n))" ] ||
		fail "$variant: $n lifecycles, but updates went from ${updates_before[*]} to ${updates_after[*]}"
	wal_bytes=$(divide "$((wal_after[0] - wal_before[0]))" "$n" 0)
	images=$(divide "$((wal_after[1] - wal_before[1]))" "$n" 3)
	hot=$(divide "$((100 * (updates_after[1] - updates_before[1])))" "$((updates_after[0] - updates_before[0]))")
	entries=$(divide "$((a[4] - b[4]))" "$n")
}

# ---- a line with a delay ----

# Starts the proxy, half a millisecond each way, in front of the sockets in the
# arguments; sets delayed_ports to its TCP ports, in the same order.
start_delay()
{
	cc -O2 -Wall -Werror -o "$scratch/delay_proxy" "$bench/delay_proxy.c"
	mkfifo "$scratch/delay_ports"
	"$scratch/delay_proxy" 500 "$@" >"$scratch/delay_ports" &
	on_exit "kill $! 2>/dev/null"
	read -r -a delayed_ports <"$scratch/delay_ports"
	[ ${#delayed_ports[@]} -eq $# ] || fail "no delay"
}

# over_delay COMMAND...: with libpq's connections over the delayed line
over_delay()
{
	PGHOST=127.0.0.1 PGPORT=${delayed_ports[0]} PGSSLMODE=disable PGGSSENCMODE=disable "$@"
}

# One client alone, over the socket and over the delayed line: what the line adds.
measure_delay()
{
	local near far

	echo 'SELECT 1;' >"$scratch/select.pgbench"
	near=$(latency_alone)
	far=$(over_delay latency_alone)
	row round_trip postgres 0 "$near" "$far"
	awk -v a="$near" -v b="$far" 'BEGIN { exit !(b - a >= 1 && b - a <= 1.5) }' || fail "the line adds $(awk -v a="$near" -v b="$far" 'BEGIN { print b - a }') ms and not 1"
}

latency_alone()
{
	pgbench -n -M prepared -c 1 -T 1 -f "$scratch/select.pgbench" 2>/dev/null | sed -n 's/^latency average = \([0-9.]*\) ms.*/\1/p'
}

# ---- a part ----

# What to do at the end, the last first.
at_exit=()
on_exit()
{
	at_exit=("$1" "${at_exit[@]}")
}

clean_up()
{
	local code=$? todo

	for todo in "${at_exit[@]}"
	do
		eval "$todo" || true
	done
	exit "$code"
}

# In front of every part: a directory of its own, and a server that is what it must be.
begin_part()
{
	[ -n "${PAY_PREFIX:-}" ] || fail "bench/run starts the parts"
	scratch=$(mktemp -d)
	trap clean_up EXIT
	on_exit "rm -rf '$scratch'"
	[ "$(one "SELECT current_setting('fsync') || current_setting('synchronous_commit') || current_setting('full_page_writes')")" = ononon ] ||
		fail "fsync, synchronous_commit and full_page_writes must be on"
	postmaster=$(sed -n 1p "$(one 'SHOW data_directory')/postmaster.pid")
	one 'CREATE EXTENSION pgstattuple'
	one 'CREATE EXTENSION pay_idem'
	make_tables pay_idem
	warm_log
}

# ---- the report ----

# rows MEASURE VARIANT COLUMN: that figure in all rounds
rows()
{
	awk -v m="$1" -v v="$2" -v c="$3" '$1 == m && $2 == v { print $c }' "$figures"
}

# the middle, the smallest and the largest of numbers
middle()
{
	sort -g | awk '{ x[NR] = $1 } END { if (NR) printf "%.10g %.10g %.10g\n", NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2, x[1], x[NR] }'
}

median()
{
	rows "$@" | middle | cut -d' ' -f1
}

# median (smallest..largest), rounded
spread()
{
	local m

	m=($(rows "$@" | middle))
	[ ${#m[@]} -eq 3 ] && echo "$(thousands "${m[0]}") ($(thousands "${m[1]}")..$(thousands "${m[2]}"))" || echo '-'
}

# ratios MEASURE VARIANT COLUMN RIVAL [ITS_MEASURE]: the variant's figure through the rival's, round by round
ratios()
{
	awk -v m="$1" -v v="$2" -v c="$3" -v rival="$4" -v its="${5:-$1}" '
		$1 == m && $2 == v { ours[$3] = $c } $1 == its && $2 == rival { theirs[$3] = $c }
		END { for (round in ours) if (theirs[round] > 0) print ours[round] / theirs[round] }' "$figures"
}

# middle of numbers as "1.23 × (1.10..1.30)"
times()
{
	middle | awk '{ printf "%.2f × (%.2f..%.2f)", $1, $2, $3; n = 1 } END { if (!n) print "-" }'
}

# target WHAT | AGAINST | at least / at most | TARGET | UNIT: numbers on standard input, one for each round
target()
{
	local m

	m=($(middle))
	[ ${#m[@]} -eq 3 ] || m=(- - -)
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${5:-×}" "${m[@]}" >>"$targets"
}

name_of()
{
	case $1 in
		pay_idem) echo '**pay_idem**' ;;
		bare) echo '(a) bare SQL, no rules' ;;
		plpgsql) echo '(b) the same rules in PL/pgSQL' ;;
		recipe) echo '(c) transactions of single statements' ;;
		redis) echo '(d) lock in Redis, optimistic updates' ;;
		middleware) echo '(e) idempotency middleware, in front of (c)' ;;
		select_order) echo 'SELECT of the same row by its order' ;;
		select_number) echo 'SELECT of the same row by its primary key' ;;
		for_update) echo '`SELECT … FOR UPDATE`, decide, commit' ;;
		for_update_alone) echo 'the same as one statement, which cannot decide' ;;
		*) echo "$1" ;;
	esac
}

thousands()
{
	printf "%.0f" "$1" | sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/; ta'
}
