# The first time in height.csv at which the ball is not above the ground.
awk -F , '$2 <= 0 { printf "The ball lands after %.2f s.\n", $1; exit }' height.csv >answer.txt
