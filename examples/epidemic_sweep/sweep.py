"""Run an epidemic model for 100 values of R0, one job each, and plot the results."""

from pathlib import Path

from cloud_executor import Client

HERE = Path(__file__).parent
WIDTH, HEIGHT, MARGIN = 640, 400, 50
"""Size of the plot, and of the space around it, in pixels."""


def run_all(values: list[float]) -> dict[float, float]:
    """The infected share for each value of R0."""
    rows = [{"R0": f"{value:.2f}"} for value in values]
    shares = {}
    with Client() as client:
        for value, job in zip(values, client.map(["python3", "epidemic.py"], rows, folder=HERE / "model"), strict=True):
            if not job.succeeded:
                raise SystemExit(f"The job for R0 = {value} failed: {job.error}")
            shares[value] = float(b"".join(job.log("stdout")))
    return shares


def plot(shares: dict[float, float]) -> str:
    """An SVG image of the shares."""
    largest = max(shares)

    def x(value: float) -> float:
        return MARGIN + value / largest * (WIDTH - 2 * MARGIN)

    def y(share: float) -> float:
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    points = " ".join(f"{x(value):.1f},{y(share):.1f}" for value, share in shares.items())
    ticks = "".join(
        f'<text x="{x(value):.1f}" y="{HEIGHT - MARGIN + 20}" text-anchor="middle">{value}</text>'
        for value in range(int(largest) + 1)
    )
    ticks += "".join(
        f'<text x="{MARGIN - 8}" y="{y(percent / 100) + 5:.1f}" text-anchor="end">{percent} %</text>'
        for percent in range(0, 101, 25)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="14"><rect width="100%" height="100%" fill="white"/>'
        f'<path d="M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}" fill="none" stroke="black"/>'
        f'<polyline points="{points}" fill="none" stroke="steelblue" stroke-width="2"/>{ticks}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">R0</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 20}">infected share of the population</text></svg>\n'
    )


if __name__ == "__main__":
    shares = run_all([round(0.55 + 0.05 * number, 2) for number in range(100)])
    Path("plot.svg").write_text(plot(shares))
    print(f"{len(shares)} jobs finished.")
    print(f"With R0 = 2.00, {shares[2.0]:.1%} of the population are infected.".replace("%", " %"))
    print("plot.svg shows all results.")
