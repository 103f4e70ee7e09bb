#!/bin/sh
# start-workers.sh HOSTS KEYS MASTER: start a worker on each host of the file HOSTS, one name a line.
# A host that is named twice gets two workers. KEYS is the folder of coded-als keys, MASTER is tcp://HOST:5555.
# Stop one with: ssh HOST 'kill -- -$(cat .coded-als/worker-N.pid)'
set -eu
hosts=$1 keys=$2 master=$3
number=0
while read -r host <&3; do
    [ -n "$host" ] || continue
    name=.coded-als/worker-$number
    ssh "$host" "umask 077 && mkdir -p .coded-als && cat > $name.key" < "$keys/worker-$number.key"
    # a worker without a master ends after half a minute, so it is started again
    ssh -n "$host" "setsid sh -c 'while :; do coded-als worker --connect $master --key-file $name.key --log-level info; \
sleep 2; done' < /dev/null >> $name.log 2>&1 & echo \$! > $name.pid"
    echo "worker $number on $host"
    number=$((number + 1))
done 3< "$hosts"
