# Summarize a large file, with one job for each sensor.
set -eu
sh make_measurements.sh >measurements.csv
measurements=$(executor put measurements.csv)
executor run --tasks sensors.csv --input "data/measurements.csv=$measurements" --artifact summary=summary.txt \
    --out results summarize -- sh summarize.sh '{SENSOR}' >/dev/null
cat results/*/summary.txt
