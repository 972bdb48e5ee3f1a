"""Print the share of a population that an epidemic infects: the SIR model, with R0 from the environment."""

import os

STEP = 0.05
STEPS = 10_000
FIRST_INFECTED = 1e-6


def rates(susceptible: float, infected: float, r0: float) -> tuple[float, float]:
    """How fast the two shares change, if an infection lasts one unit of time."""
    infections = r0 * susceptible * infected
    return -infections, infections - infected


def final_share(r0: float) -> float:
    """Integrate with the midpoint method until almost nobody is infected, or for a long time."""
    susceptible, infected = 1 - FIRST_INFECTED, FIRST_INFECTED
    for _ in range(STEPS):
        if infected < FIRST_INFECTED / 10:
            break
        by_s, by_i = rates(susceptible, infected, r0)
        by_s, by_i = rates(susceptible + by_s * STEP / 2, infected + by_i * STEP / 2, r0)
        susceptible, infected = susceptible + by_s * STEP, infected + by_i * STEP
    return 1 - susceptible


print(f"{final_share(float(os.environ['R0'])):.6f}")
