# The guard of one private cluster: see guard.rs, which starts it.
#
# Arguments: directory to remove at the end, data directory, directory for initdb, initdb, the postmaster's command line.
# Standard input: one order a line; its end means that the owner is gone, however it went.
# Standard output: one line in answer to each order that wants one. Standard error: the log.

# PIPE: an answer that nobody reads any more must not keep us from the clean-up.
trap '' HUP INT TERM PIPE
remove=$1 data=$2 fresh=$3 initdb=$4
shift 4
postmaster='' paused=''

# Words of an argument are options or pids, so that they are not quoted below.
while read -r order argument; do
    case $order in
    init)
        "$initdb" -D "$fresh" -U faultline -E UTF8 -A trust --no-instructions $argument </dev/null >&2
        echo $? 2>/dev/null
        ;;
    copy)
        # Made by us with the permissions of any directory; the server wants its data to be nobody else's.
        chmod 700 "$fresh"
        "${initdb%initdb}pg_basebackup" -D "$fresh" $argument </dev/null >&2
        echo $? 2>/dev/null
        ;;
    start)
        "$@" -p "$argument" </dev/null >&2 &
        postmaster=$!
        echo "$postmaster" 2>/dev/null
        ;;
    reap)
        wait "$postmaster"
        echo $? 2>/dev/null
        postmaster=''
        ;;
    paused)
        paused=$argument
        ;;
    esac
done

if [ -n "$postmaster" ]; then
    # The pid is ours until `wait` has collected it, so that no signal can hit a stranger.
    kill -CONT $paused "$postmaster"
    kill -INT "$postmaster"
    (
        tenths=0
        while sleep 0.1; do
            tenths=$((tenths + 1))
            case $tenths in
            100) kill -QUIT "$postmaster" ;;
            170) kill -KILL "$postmaster" ;;
            esac
        done
    ) &
    timer=$!
    wait "$postmaster"
    kill -KILL "$timer"
fi 2>/dev/null

case $data in
"$remove"/*)
    # A postmaster that was killed leaves its shared memory segment, named on line 7 of its lock file, until the next start.
    segment=$(sed -n '7s/.* //p' "$data/postmaster.pid" 2>/dev/null)
    [ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null
    ;;
esac
# Who has mounted something there removes it after that.
[ -n "$FAULTLINE_DISKS" ] && exit 0
# Orphans of a killed postmaster may still write for a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$remove" 2>/dev/null && break
    sleep 0.5
done
