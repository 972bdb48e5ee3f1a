# Print 200,000 lines: the number of a sensor, and a temperature.
awk 'BEGIN {
    for (i = 0; i < 200000; i++) {
        sensor = i % 4 + 1
        printf "%d,%.2f\n", sensor, 20 + 2 * sensor + (int(i / 4) % 101 - 50) / 100
    }
}'
