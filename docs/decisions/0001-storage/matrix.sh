#!/bin/sh
# Runs one group of cells: matrix.sh GROUP DATABASE_URL [PROGRAM]. The first field of each line is the load average.
url=$2 program=${3:-target/release/storage-spike}
run() { printf '%s\t%s\t' "$(cut -d' ' -f1 /proc/loadavg)" "$group"; timeout 120 "$program" "$url" "$@" || echo "failed: $*"; }
group=$1
case $group in
central) # run it three times, take medians
  for clients in 1 2; do
    for design in a b c d e f; do run design=$design clients=$clients; done
    for join in id array; do run design=e clients=$clients join=$join; done
  done ;;
four) for design in a b c d e f; do run design=$design clients=4; done
  for join in id array; do run design=e clients=4 join=$join; done ;;
1k) for clients in 1 2 4; do for design in a b c d e f; do run design=$design clients=$clients payload=1024 jobs=100000; done; done ;;
4k) for clients in 1 2 4; do for design in a b c d e f; do run design=$design clients=$clients payload=4096 jobs=50000; done; done ;;
held) for held in 0 1; do
    for design in b d e f; do run design=$design held=$held jobs=400000 seconds=6; done
    run design=b floor=1 held=$held jobs=400000 seconds=6
  done ;;
held20) for held in 0 1; do for design in b d e; do run design=$design held=$held jobs=300000 limit=200000 batch2=20 seconds=6; done; done ;;
backlog) for design in b e; do for clients in 1 2; do run design=$design clients=$clients jobs=1000000 limit=200000; done; done ;;
batch) for clients in 1 2; do for batch in 20 100 1000 2000; do run design=e clients=$clients batch=$batch seconds=6; done; done ;;
fill) for payload in 100 1024; do for ff in 35 60 90; do run design=e payload=$payload ff=$ff jobs=100000; done; done
  for ff in 30 35 60; do run design=f ff=$ff; done ;;
extras) for clients in 1 2; do
    run design=e clients=$clients commits=2; run design=e clients=$clients hist=1; run design=e clients=$clients sweep=0
  done
  for clients in 2 4; do run design=e clients=$clients shared=1; done ;;
plans) for shape in 'key=id finish=join' 'key=id finish=any' 'key=tie finish=join' 'key=tie finish=any'; do
    for stats in 'stats=none warm=1' 'stats=empty warm=1' 'stats=drained warm=0' 'stats=none warm=0 analyze=1'; do
      run design=e $shape $stats seconds=3
    done
  done
  for pins in none generic nodes; do
    for stats in 'stats=none warm=1' 'stats=empty warm=1' 'stats=drained warm=0' 'stats=none warm=0 analyze=1'; do
      run design=e key=tie finish=any $stats pins=$pins seconds=3
    done
  done ;;
shape) # run it three times, take medians
  for clients in 1 2; do
    for shape in 'key=id' 'key=id finish=any' 'key=tie' 'key=uuid_hash(id)' 'key=tie finish=any' 'key=tie finish=any pins=local'; do
      run design=e clients=$clients $shape
    done
  done ;;
narrow) for round in 1 2 3; do for clients in 1 2; do run design=e clients=$clients; run design=f ff=35 clients=$clients; done; done
  for payload in 256 512 1024; do run design=e jobs=100000 payload=$payload; run design=f ff=35 jobs=100000 payload=$payload; done
  run design=f ff=35 jobs=50000 payload=4096; run design=f ff=35 held=1 jobs=400000 seconds=6 ;;
small) for pins in session nodes none local; do run design=e key=tie finish=any batch=20 analyze=1 pins=$pins seconds=3; done ;;
final) final='design=e key=tie finish=any pins=local'
  run $final clients=4
  for clients in 1 2 4; do
    run $final payload=1024 clients=$clients jobs=100000; run $final payload=4096 clients=$clients jobs=50000
  done
  for held in 0 1; do
    run $final held=$held jobs=400000 seconds=6; run $final held=$held jobs=300000 limit=200000 batch2=20 seconds=6
  done
  for clients in 1 2; do run $final clients=$clients jobs=1000000 limit=200000; done ;;
idle) for clock in 'statement_timestamp()' 'clock_timestamp()' '(select clock_timestamp())'; do
    run design=e idle=1 jobs=500000 clock="$clock"; done ;;
esac
