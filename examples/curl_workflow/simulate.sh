# The height of a ball that falls from 20 m, in steps of a millisecond.
awk 'BEGIN { for (t = 0; t < 3; t += 0.001) printf "%.3f,%.4f\n", t, 20 - 9.81 * t * t / 2 }' >height.csv
