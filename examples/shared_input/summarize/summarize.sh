# Write the number and the mean of the measurements of one sensor to summary.txt.
awk -F , -v "sensor=$1" '
    $1 == sensor { count++; sum += $2 }
    END { printf "sensor %d: %d measurements, mean %.2f\n", sensor, count, sum / count > "summary.txt" }
' data/measurements.csv
