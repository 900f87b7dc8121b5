#!/bin/sh
# Edits a picture on a server (`noisespace app`) with curl: PICTURE SOURCE TARGET OUT.png [URL]
# NOISESPACE_TOKEN is shown where it is set. Prompts must not hold quotes or backslashes here.
set -eu
server="${5:-http://127.0.0.1:7860}"
session="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" # whose the jobs are: nobody else sees them

call() {
    curl --silent --show-error --fail-with-body --header "X-Session: $session" \
        ${NOISESPACE_TOKEN:+--header "Authorization: Bearer $NOISESPACE_TOKEN"} "$@"
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1; }

upload="$(call --data-binary "@$1" --header "Content-Type: application/octet-stream" \
    "$server/api/uploads" | field upload)"
job="$(call --json "{\"upload\": \"$upload\", \"source\": \"$2\", \"targets\": [\"$3\"]}" \
    "$server/api/edit" | sed 's/.*"id":"\([^"]*\)".*/\1/')"
state=waiting
while [ "$state" = waiting ] || [ "$state" = running ]; do
    answer="$(call "$server/api/jobs/$job?wait=2")"
    state="$(printf %s "$answer" | sed 's/.*"state":"\([^"]*\)","stage".*/\1/')"
done
if [ "$state" != done ]; then
    printf '%s\n' "$answer" >&2
    exit 1
fi
call --output "$4" "$server/api/jobs/$job/images/0"
call --request DELETE "$server/api/jobs/$job" # the server forgets it
echo "$4"
