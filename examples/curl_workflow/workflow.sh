# Run two jobs with curl. The second one reads the result of the first.
set -eu
url=${EXECUTOR_URL:-http://127.0.0.1:8888}/rest
exec 3>&1 # the output of the script inside $( )

request() {
    curl --silent --show-error --fail-with-body "$@"
}

# Print the first hash in the input that follows the text $1.
hash_after() {
    grep -o "$1[0-9a-f]\{40\}" | head -n 1 | grep -o '[0-9a-f]\{40\}$'
}

# Store a file, and print its hash.
store() {
    request --data-binary "@$1" "$url/blob/createFile/$1" | hash_after '{"'
}

# Print the entry of an artifact for the file $1 whose hash is $2.
entry() {
    printf '"%s": {"content": "%s", "contentType": "%s"}' "$1" "$2" "${3:-softLink}"
}

# Store the entries $2 as an artifact with the name $1, run it as a job, and print the job's document.
run() {
    artifact=$(printf '{"name": "%s.zip", "contentType": "complex", "content": {%s}}' "$1" "$2")
    job=$(request --data-binary "$artifact" "$url/blob/createMetadata" | hash_after '{"')
    request --output /dev/null -X POST "$url/executor/create/$job"
    while true; do
        # The server responds when the job has changed, or after 25 seconds.
        document=$(request "$url/executor/info/$job?wait=25")
        status=$(echo "$document" | grep -o '"status":"[A-Z_]*"' | cut -d '"' -f 4)
        case $status in
        CREATED | RUNNING) ;;
        *) break ;;
        esac
    done
    echo "$1: $status" >&3
    [ "$status" = SUCCESS ] || { echo "$document" >&2; exit 1; }
    echo "$document"
}

first="$(entry executor_config.json "$(store simulate.json)"), $(entry simulate.sh "$(store simulate.sh)")"
table=$(run simulate "$first" | hash_after '"table":"')

# An artifact lists its files; the entry of a file can be part of another artifact.
height=$(request "$url/blob/metadata/$table" | grep -o '"height.csv":{[^}]*}')
second="$(entry executor_config.json "$(store analyze.json)"), $(entry analyze.sh "$(store analyze.sh)"), $height"
answer=$(run analyze "$second" | hash_after '"answer":"')
request "$url/blob/view/$answer/answer.txt"
