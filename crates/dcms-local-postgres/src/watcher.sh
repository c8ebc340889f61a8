# Ends a throwaway PostgreSQL when nobody uses it any longer, however its users ended.
#   $1  its directory
#   $2  tenths of a second to wait for the next user
#   $3  what to delete afterwards
# Each user holds the pipe `users` open for writing: end of file says that all are gone. A user that
# has written its name there and sees the file `joined.NAME` is sure that the server stays.
trap '' HUP INT
cd "$1" || exit 1
rm -f users
mkfifo -m 600 users || exit 1
# Opening a pipe only for reading waits for a writer; the first one may have died by now.
exec 4<> users 3< users 4>&-

# Five seconds for the first user.
idle=-50
while [ "$idle" -le "$2" ]; do
    if read -r user <&3; then
        : > "joined.$user"
        idle=0
    else
        idle=$((idle + 1))
        sleep 0.1
    fi
done

process=$(head -n 1 data/postmaster.pid 2> /dev/null) && kill -INT "$process" 2> /dev/null
waited=0
while [ -e data/postmaster.pid ] && [ "$waited" -lt 100 ]; do
    waited=$((waited + 1))
    sleep 0.1
done
rm -rf users joined.* data.new "$3"
# Empty only if it was made for this one server.
rmdir "${1%/*}" 2> /dev/null
