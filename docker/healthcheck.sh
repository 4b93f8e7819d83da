#!/bin/bash
# Whether the process answers; not whether it has caught up: a shard that reads a long log is healthy.
# Bash speaks enough HTTP for this, so the image needs no client. Without VEKTONN_HTTP_PORT, the roles' own ports are tried.
for port in ${VEKTONN_HTTP_PORT:-8081 8082}; do
    exec 3<>"/dev/tcp/127.0.0.1/$port" || continue
    printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    read -r _ status _ <&3
    [ "$status" = 200 ] && exit 0
done
exit 1
