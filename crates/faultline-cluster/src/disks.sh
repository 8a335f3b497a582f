# Runs a guard with small disks: see disks.rs. The mounts are in a namespace of this shell and its children alone.
#
# Arguments: directory of the disks, uid, gid, MiB for tables, MiB for the log of writes, the guard's command line.
trap '' HUP INT TERM PIPE
runtime=$1 uid=$2 gid=$3
mount -t tmpfs -o "size=$4m,uid=$uid,gid=$gid,mode=700" faultline "$runtime/tables" || exit 1
mount -t tmpfs -o "size=$5m,uid=$uid,gid=$gid,mode=700" faultline "$runtime/wal" || exit 1
shift 5
setpriv --reuid "$uid" --regid "$gid" --clear-groups -- "$@"
status=$?
umount "$runtime/tables" "$runtime/wal"
rm -rf -- "$runtime"
exit $status
