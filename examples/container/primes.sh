# Write all primes below a number to primes.txt, and print how many there are.
set -eu
awk -v "end=$1" 'BEGIN {
    for (i = 2; i < end; i++) {
        if (i in composite) continue
        print i
        for (j = i * i; j < end; j += i) composite[j]
    }
}' >primes.txt
echo "$(wc -l <primes.txt | tr -d ' ') primes below $1"
