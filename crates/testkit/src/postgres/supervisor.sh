# Ends a server once nobody holds a shared lock on LOCK any more, and removes its folder.
# Arguments: LOCK FOLDER SECONDS; with SECONDS above 0 others may come within that time.
lock=$1 folder=$2 linger=$3
exec 9<"$lock" || exit 1
while :; do
    flock -x 9 || exit 1
    [ "$linger" -eq 0 ] && break
    flock -u 9
    sleep "$linger"
    # Held until the end: whoever comes now waits, and starts another server.
    flock -n -x 9 && break
done
# Ends the server that keeps its number in a file for as long as it runs: end FILE SIGNAL.
end() {
    [ -f "$1" ] && read -r pid <"$1" || return
    # A server that was stopped in the middle of something must go on to hear that it is to end, and so its sessions.
    kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
    kill -"$2" "$pid"
    tries=0
    while [ -f "$1" ] && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    [ -f "$1" ] && kill -KILL "$pid"
}
end "$folder/data/postmaster.pid" QUIT
end "$folder/pgbouncer.pid" TERM
rm -rf "$folder"
