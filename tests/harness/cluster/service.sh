#!/bin/bash
# The program behind the resources and monitors of a test cluster. It writes down what was done to
# it and when (seconds since boot, as the control plane counts them), and, while it runs, that it
# still does. Always: what is started ends when the file `over` appears next to this script.
#
#   service.sh start|stop|status|check|recover
#
# Files in the folder of the node tell it to fail: NAME.broken (status, check), NAME.stays (stop).
set -u
root=${0%/*}
name=$LOCKSTEP_RESOURCE
here=$root/$LOCKSTEP_NODE

now() {
    read -r now _ </proc/uptime
}

tell() {
    now
    echo "$now $LOCKSTEP_NODE $name $1" >>"$root/told"
}

# Whether process $1 is there and not only waits to be forgotten.
lives() {
    local stat
    [[ -n $1 ]] && read -r stat 2>/dev/null <"/proc/$1/stat" && [[ ${stat##*) } != Z* ]]
}

pid=
[[ ! -e $here/$name.pid ]] || pid=$(<"$here/$name.pid")
case $1 in
run)
    # Nobody writes to it: to read from it is to wait without starting a process.
    [[ -e $here/$name.fifo ]] || mkfifo "$here/$name.fifo"
    exec 9<>"$here/$name.fifo"
    while [[ ! -e $root/over ]]; do
        now
        echo "$now" >>"$here/$name.alive"
        read -rt 0.02 -u 9
    done
    ;;
start)
    lives "$pid" && exit 0
    "$0" run </dev/null >/dev/null 2>&1 &
    echo $! >"$here/$name.pid"
    tell start
    ;;
stop)
    if [[ -e $here/$name.stays ]]; then
        echo "$name does not want to stop"
        exit 1
    fi
    lives "$pid" || exit 0
    kill -KILL "$pid"
    while lives "$pid"; do sleep 0.01; done
    tell stop
    ;;
status)
    if [[ -e $here/$name.broken ]]; then
        echo "$name is broken"
        exit 1
    fi
    lives "$pid" || exit 3
    ;;
check)
    if [[ -e $here/$name.broken ]]; then
        echo "$name is broken"
        exit 1
    fi
    ;;
recover)
    tell recover
    ;;
esac
