/* Heat conduction in a rod of length 1 whose ends stay cold, by explicit finite differences. */
#include <math.h>
#include <stdio.h>

#define CELLS 100

int main(void) {
    const double end = 0.1, dx = 1.0 / CELLS, dt = 0.25 * dx * dx, pi = acos(-1.0);
    const long steps = lround(end / dt);
    double now[CELLS + 1], next[CELLS + 1] = {0};

    for (int i = 0; i <= CELLS; i++) {
        now[i] = sin(pi * i * dx);
    }
    now[CELLS] = 0;
    for (long step = 0; step < steps; step++) {
        for (int i = 1; i < CELLS; i++) {
            next[i] = now[i] + dt / (dx * dx) * (now[i - 1] - 2 * now[i] + now[i + 1]);
        }
        for (int i = 1; i < CELLS; i++) {
            now[i] = next[i];
        }
    }

    FILE *profile = fopen("profile.csv", "w");
    if (profile == NULL) {
        perror("profile.csv");
        return 1;
    }
    fprintf(profile, "x,temperature\n");
    for (int i = 0; i <= CELLS; i++) {
        fprintf(profile, "%.2f,%.6f\n", i * dx, now[i]);
    }
    if (fclose(profile) != 0) {
        perror("profile.csv");
        return 1;
    }
    printf("temperature in the middle: %.5f\n", now[CELLS / 2]);
    return 0;
}
